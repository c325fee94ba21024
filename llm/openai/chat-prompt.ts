/** What a conversation asks of the engine, whatever API it came by: its texts, its functions, and how calls are held and found. Pure. */
import * as z from "zod";
import type { ChatMessage, PromptInput } from "../../engine/index.ts";
import { callsFormat, heldCallsFormat } from "./call-format.ts";
import type { Ask } from "./choices.ts";
import { invalid, unsupported } from "./errors.ts";
import { flag } from "./fields.ts";
import type { AskedGrammar } from "./structured-output.ts";
import { toolCallParser } from "./tool-call-parser.ts";
import { type Tool, type ToolChoice, type ToolFormat, withToolsAsText } from "./tool-style.ts";

/** Text, or what the assistant said where it refused. */
const part = z.looseObject({ type: z.string(), text: z.string().optional(), refusal: z.string().optional() });
/** A text, or parts of which only texts are taken. */
export const content = z.union([z.string(), z.array(part)], "expected a text or a list of content parts");

export const toolSchema = z.looseObject({
  type: z.literal("function", "only functions are supported"),
  function: z.looseObject({
    name: z.string().regex(/^[\w.-]{1,64}$/, "expected 1 to 64 letters, digits, underscores, dots or dashes"),
    description: z.string().optional(),
    parameters: z.looseObject({}).nullish(),
    strict: flag,
  }),
});

/** @param separator between parts */
export function textOf(given: z.output<typeof content>, where: string, separator = ""): string {
  if (typeof given === "string") return given;
  return given
    .map((piece, at) => {
      const said = piece.text ?? piece.refusal;
      if (said !== undefined) return said;
      throw unsupported(`${where}[${at}]`, `this model reads text only, not '${piece.type}'.`);
    })
    .join(separator);
}

/** Templates write arguments as values. Also for histories of other servers, whose calls came as JSON text. */
export function argumentsOf(json: string, where: string): object {
  try {
    const value: unknown = JSON.parse(json === "" ? "{}" : json);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  } catch {
    // Told below, as for any other value.
  }
  throw invalid(where, "expected the JSON text of an object.");
}

/** What a request may say of its functions: a word, one's name, or which are allowed. */
type ChoiceGiven =
  | "none"
  | ToolChoice
  | { readonly mode: "auto" | "required"; readonly allowed: readonly string[] }
  | null
  | undefined;

/** The functions that the model sees, and which of them is wanted; "none" where none may be called. */
export function callable(
  given: ChoiceGiven,
  tools: readonly Tool[],
): { readonly tools: readonly Tool[]; readonly choice: ToolChoice | "none" } {
  if (typeof given === "object" && given !== null && "allowed" in given)
    return { tools: toolsNamed(tools, given.allowed), choice: given.mode };
  return { tools, choice: toolChoiceOf(given, tools) };
}

function toolsNamed(tools: readonly Tool[], names: readonly string[]): readonly Tool[] {
  const unknown = names.find((name) => !tools.some((tool) => tool.function.name === name));
  if (unknown !== undefined) throw invalid("tool_choice", `there is no function '${unknown}' in 'tools'.`);
  return tools.filter((tool) => names.includes(tool.function.name));
}

function toolChoiceOf(given: "none" | ToolChoice | null | undefined, tools: readonly Tool[]): ToolChoice | "none" {
  if (given === "none") return "none";
  if (tools.length === 0) {
    if (given == null || given === "auto") return "none";
    throw invalid("tool_choice", "it is only allowed when 'tools' are given.");
  }
  if (given == null || typeof given === "string") return given ?? "auto";
  toolsNamed(tools, [given.name]);
  return { name: given.name };
}

/** What is asked of the engine, and how calls are found in what it answers. */
export interface ChatPrompt {
  readonly input: PromptInput;
  readonly calls?: NonNullable<Ask["calls"]>;
  readonly grammar?: AskedGrammar;
}

/** Of an ask, what a prompt decides. */
export const partsOf = ({ input, calls, grammar }: ChatPrompt): Omit<Ask, "options"> => ({
  input,
  ...(calls === undefined ? {} : { calls }),
  ...(grammar === undefined ? {} : { grammarField: grammar.field }),
});

/** @param wanted whether the answer ends with its first call, and what it must look like where it isn't one */
export function promptOf(
  messages: readonly ChatMessage[],
  tools: readonly Tool[],
  choice: ToolChoice | "none",
  format: ToolFormat,
  { onlyOne = false, answer }: { onlyOne?: boolean; answer?: AskedGrammar | undefined } = {},
): ChatPrompt {
  const shown = choice === "none" ? [] : tools;
  const plain = format.isNative ? messages : withToolsAsText(messages, shown, format.style);
  const answered = answer === undefined ? {} : { grammar: answer };
  if (choice === "none") return { input: { messages: plain }, ...answered };
  const isNamed = typeof choice === "object";
  const meant = isNamed ? tools.filter((tool) => tool.function.name === choice.name) : tools;
  const ends = onlyOne || isNamed;
  const calls = callsFormat(format.style, meant, ends);
  const names = new Set(tools.map((tool) => tool.function.name));
  const grammar =
    choice !== "auto"
      ? { format: calls, field: "tools" }
      : answer !== undefined
        ? { ...answer, format: { type: "or", elements: [calls, answer.format] } as const }
        : tools.some((tool) => tool.function.strict === true)
          ? { format: heldCallsFormat(format.style, tools, ends), field: "tools" }
          : undefined;
  return {
    input: { messages: plain, ...(format.isNative ? { tools: shown } : {}) },
    calls: { parser: () => toolCallParser(format.style, names), onlyOne: ends },
    ...(grammar === undefined ? {} : { grammar }),
  };
}
