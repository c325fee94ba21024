/**
 * Finds tool calls in a growing answer. Text that may yet become a call is held back; a call comes out whole, with arguments that are
 * JSON; what looked like one and isn't comes out as the text it was. Where the pieces are cut makes no difference. Pure.
 */
import { readPythonCalls, type WrittenCall } from "./python-calls.ts";
import type { ToolStyle } from "./tool-style.ts";

export type Part =
  | { readonly kind: "text"; readonly text: string }
  /** `arguments` is the JSON text of an object. */
  | { readonly kind: "call"; readonly name: string; readonly arguments: string };

export interface ToolCallParser {
  push(text: string): Part[];
  /** What was held back, once no more comes. */
  finish(): Part[];
}

/** @param names functions that may be called: where calls have no marks of their own, others are text */
export function toolCallParser(style: ToolStyle, names: ReadonlySet<string>): ToolCallParser {
  switch (style) {
    case "hermes":
      return new Scanner([marked("<tool_call>", "</tool_call>", readJson)], names);
    case "llama":
      return new Scanner([marked("<|python_tag|>", undefined, readJson), bare("{", readJson)], names);
    case "gemma":
      return new Scanner(
        [marked("```tool_code", "```", readEither), bare("[", readEither), bare("{", readJson)],
        names,
      );
  }
}

/** How a call begins and ends. */
interface Form {
  readonly open: string;
  /** The mark that ends it; undefined: its own last bracket does. */
  readonly close: string | undefined;
  /** Has no mark: only at the beginning of an answer or behind another call; elsewhere the same signs are text. */
  readonly isBare: boolean;
  read(text: string): readonly WrittenCall[] | undefined;
}
const marked = (open: string, close: string | undefined, read: Form["read"]): Form => ({
  open,
  close,
  isBare: false,
  read,
});
const bare = (open: string, read: Form["read"]): Form => ({ open, close: undefined, isBare: true, read });

/** Where the held text stops being undecided: its length, and what is between the marks. */
interface End {
  readonly inner: string;
  readonly length: number;
}

class Scanner implements ToolCallParser {
  readonly #forms: readonly Form[];
  readonly #names: ReadonlySet<string>;
  /** Not yet decided. */
  #held = "";
  /** The form of the call that `#held` begins with, white space before it included. */
  #form: Form | undefined;
  /** Nothing but white space, separators and calls so far. */
  #isFresh = true;
  #hasCalls = false;

  constructor(forms: readonly Form[], names: ReadonlySet<string>) {
    this.#forms = forms;
    this.#names = names;
  }

  push(text: string): Part[] {
    this.#held += text;
    return this.#scan(false);
  }

  finish(): Part[] {
    return this.#scan(true);
  }

  #scan(isLast: boolean): Part[] {
    const parts: Part[] = [];
    for (;;) {
      if (this.#form === undefined && !this.#seek(parts, isLast)) return parts;
      const end = endOf(this.#held, this.#form!, isLast);
      if (end === undefined) return parts;
      this.#close(parts, this.#form!, end);
    }
  }

  /** Gives out text up to where a call begins. False: none begins in what is known. */
  #seek(parts: Part[], isLast: boolean): boolean {
    const held = this.#held;
    const start = this.#gap(held);
    this.#form = this.#forms.find((form) => form.isBare && this.#isFresh && held.startsWith(form.open, start));
    if (this.#form !== undefined) return true;
    const marks = this.#forms.filter((form) => !form.isBare);
    const found = marks
      .map((form) => ({ form, at: held.indexOf(form.open) }))
      .filter(({ at }) => at >= 0)
      .toSorted((a, b) => a.at - b.at)[0];
    // White space before a call is dropped with it, and so is held back until it is known what follows.
    const overlap = isLast ? 0 : Math.max(0, ...marks.map(({ open }) => overlapOf(held, open)));
    const upTo = found?.at ?? held.length - overlap;
    const isRest = isLast && found === undefined;
    const text = isRest && !this.#hasCalls ? held : held.slice(0, upTo).trimEnd();
    this.#text(parts, text);
    this.#held = isRest ? "" : held.slice(text.length);
    this.#form = found?.form;
    return found !== undefined;
  }

  #close(parts: Part[], form: Form, { inner, length }: End): void {
    const whole = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    this.#form = undefined;
    const calls = form.read(inner);
    const isCall = calls !== undefined && (!form.isBare || calls.every(({ name }) => this.#names.has(name)));
    if (!isCall) return this.#text(parts, whole);
    this.#hasCalls = true;
    for (const { name, arguments: values } of calls)
      parts.push({ kind: "call", name, arguments: JSON.stringify(values) });
  }

  #text(parts: Part[], text: string): void {
    const shown = this.#isFresh && this.#hasCalls ? text.slice(this.#gap(text)) : text;
    if (shown === "") return;
    this.#isFresh = false;
    parts.push({ kind: "text", text: shown });
  }

  /** Length of what may stand before a call: white space of ASCII (`call-format.ts` says the same), behind another one also the separators of a list. */
  #gap(text: string): number {
    return (this.#hasCalls && this.#isFresh ? /^[\s;,]*/ : /^[\t-\r ]*/).exec(text)![0].length;
  }
}

/** The end of the call that `held` begins with; undefined: not there yet. */
function endOf(held: string, form: Form, isLast: boolean): End | undefined {
  const begin = held.indexOf(form.open) + (form.isBare ? 0 : form.open.length);
  const rest: End | undefined = isLast ? { inner: held.slice(begin), length: held.length } : undefined;
  if (form.close === undefined) {
    const first = begin + /^\s*/.exec(held.slice(begin))![0].length;
    if (first === held.length) return rest;
    // Something else than an object or a list behind a mark.
    if (!"{[".includes(held[first]!)) return { inner: "", length: first };
    const end = endOfBrackets(held, first);
    return end === undefined ? rest : { inner: held.slice(first, end), length: end };
  }
  for (let at = held.indexOf(form.close, begin); at >= 0; at = held.indexOf(form.close, at + 1))
    if (!endsInString(held.slice(begin, at))) return { inner: held.slice(begin, at), length: at + form.close.length };
  return rest;
}

/** Index behind the bracket that closes the one at `start`; brackets in strings don't count. */
function endOfBrackets(text: string, start: number): number | undefined {
  let depth = 0;
  let quote: string | undefined;
  for (let at = start; at < text.length; at++) {
    const character = text[at]!;
    if (quote !== undefined) {
      if (character === "\\") at++;
      else if (character === quote) quote = undefined;
    } else if (character === '"' || (character === "'" && text[start] === "[")) quote = character;
    else if ("{[(".includes(character)) depth++;
    else if ("}])".includes(character) && --depth === 0) return at + 1;
  }
  return undefined;
}

/** Whether JSON text that is cut here is cut inside of a string. */
function endsInString(text: string): boolean {
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    if (inString && text[at] === "\\") at++;
    else if (text[at] === '"') inString = !inString;
  }
  return inString;
}

/** Length of the longest proper prefix of `mark` that `text` ends with. */
function overlapOf(text: string, mark: string): number {
  for (let length = Math.min(mark.length - 1, text.length); length > 0; length--)
    if (text.endsWith(mark.slice(0, length))) return length;
  return 0;
}

/** `{"name":…,"arguments":{…}}`, or a list of such; Llama says `parameters`. */
function readJson(text: string): readonly WrittenCall[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const calls = (Array.isArray(value) ? value : [value]).map(callOf);
  return calls.length > 0 && calls.every((call) => call !== undefined) ? calls : undefined;
}

function callOf(value: unknown): WrittenCall | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { name, arguments: values, parameters } = value as Record<string, unknown>;
  const given = values ?? parameters ?? {};
  if (typeof name !== "string" || name === "" || typeof given !== "object" || Array.isArray(given)) return undefined;
  return { name, arguments: given as Record<string, unknown> };
}

const readEither = (text: string): readonly WrittenCall[] | undefined => readJson(text) ?? readPythonCalls(text);
