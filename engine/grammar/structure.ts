/**
 * What is asked of formats made of formats before the compiler gets them: it refuses most mistakes without a word, and passes over what it doesn't
 * know. Formats may come from strangers, so nothing is believed of their types.
 */
import { GrammarError } from "../refusals.ts";
import type { GrammarFormat } from "./format.ts";

/** Formats within formats: more than anybody writes, and far from the stack's end. */
const DEPTH_MAX = 32;

type Kind = "text" | "words" | "schema" | "format" | "formats" | "texts" | "tags" | "flag";
type Given = Readonly<Record<string, unknown>>;

/** What each type consists of; flags may be left out. */
const PARTS: Readonly<Record<GrammarFormat["type"], Readonly<Record<string, Kind>>>> = {
  any_text: {},
  json_schema: { json_schema: "schema" },
  regex: { pattern: "words" },
  grammar: { grammar: "words" },
  const_string: { value: "words" },
  or: { elements: "formats" },
  sequence: { elements: "formats" },
  tag: { begin: "text", content: "format", end: "text" },
  triggered_tags: { triggers: "texts", tags: "tags", at_least_one: "flag", stop_after_first: "flag" },
  tags_with_separator: { tags: "tags", separator: "words", at_least_one: "flag", stop_after_first: "flag" },
};

const isObject = (value: unknown): value is Given =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === "string";

/** Throws a GrammarError that names the part which is wrong, by its path. */
export function checkStructure(format: unknown): asserts format is GrammarFormat {
  checkFormat(format, "format", 0);
}

function checkFormat(given: unknown, at: string, depth: number): void {
  if (depth > DEPTH_MAX) throw new GrammarError("it is nested too deeply");
  if (!isObject(given)) throw new GrammarError(`"${at}" must be an object`);
  const { type, ...rest } = given;
  if (!isText(type) || !Object.hasOwn(PARTS, type))
    throw new GrammarError(`"${at}.type" must be one of ${Object.keys(PARTS).join(", ")}`);
  const parts = PARTS[type as GrammarFormat["type"]];
  for (const name of Object.keys(rest))
    if (!Object.hasOwn(parts, name)) throw new GrammarError(`"${at}.${name}" is not supported in "${type}"`);
  for (const [name, kind] of Object.entries(parts)) checkPart(rest[name], kind, `${at}.${name}`, depth + 1);
  checkSense(given as unknown as GrammarFormat, at);
}

function checkPart(given: unknown, kind: Kind, at: string, depth: number): void {
  const must = (what: string, isSo: boolean): void => {
    if (!isSo) throw new GrammarError(`"${at}" must be ${what}`);
  };
  switch (kind) {
    case "text":
      return must("a text", isText(given));
    case "words":
      return must("a text that isn't empty", isText(given) && given !== "");
    case "schema":
      return must("a JSON Schema", isObject(given) || typeof given === "boolean");
    case "flag":
      return must("true or false", given === undefined || typeof given === "boolean");
    case "texts":
      return must(
        "a list of texts",
        Array.isArray(given) && given.length > 0 && given.every((one) => isText(one) && one !== ""),
      );
    case "format":
      return checkFormat(given, at, depth);
    case "formats":
    case "tags":
      must(`a list of ${kind}`, Array.isArray(given) && given.length > 0);
      for (const [index, one] of (given as unknown[]).entries()) {
        if (kind === "tags" && isObject(one) && one["type"] !== "tag")
          throw new GrammarError(`"${at}[${index}].type" must be tag`);
        checkFormat(one, `${at}[${index}]`, depth);
      }
  }
}

/** What makes sense piece by piece, and not as a whole. */
function checkSense(format: GrammarFormat, at: string): void {
  switch (format.type) {
    case "sequence":
      for (const [index, element] of format.elements.slice(0, -1).entries())
        if (isOpen(element))
          throw new GrammarError(`"${at}.elements[${index}]" has no end of its own: only the last element may be so`);
      return;
    case "tag":
      if (format.end === "" && isOpen(format.content))
        throw new GrammarError(`"${at}.end" must not be empty: "${at}.content" has no end of its own`);
      return;
    case "triggered_tags": {
      const { triggers, tags } = format;
      for (const [index, trigger] of triggers.entries()) {
        if (triggers.some((other, place) => place !== index && other.startsWith(trigger)))
          throw new GrammarError(`"${at}.triggers[${index}]" begins another trigger too`);
        if (!tags.some(({ begin }) => begin.startsWith(trigger)))
          throw new GrammarError(`"${at}.triggers[${index}]" begins none of the tags`);
      }
      for (const [index, { begin }] of tags.entries())
        if (!triggers.some((trigger) => begin.startsWith(trigger)))
          throw new GrammarError(`"${at}.tags[${index}].begin" must begin with one of the triggers`);
      return;
    }
    default:
  }
}

/** Whether the compiler knows no end of it, and so lets nothing come behind. */
function isOpen(format: GrammarFormat): boolean {
  switch (format.type) {
    case "any_text":
    case "triggered_tags":
    case "tags_with_separator":
      return true;
    case "sequence":
      return isOpen(format.elements.at(-1)!);
    case "or":
      return format.elements.some(isOpen);
    default:
      return false;
  }
}

/** The compiler takes ways that are all open, or none: where they are mixed, what has an end becomes a list of one, which it counts as open. */
export function alike(ways: readonly GrammarFormat[]): readonly GrammarFormat[] {
  if (!ways.some(isOpen)) return ways;
  return ways.map((way) =>
    isOpen(way)
      ? way
      : {
          type: "tags_with_separator",
          tags: [{ type: "tag", begin: "", content: way, end: "" }],
          separator: "\n",
          at_least_one: true,
          stop_after_first: true,
        },
  );
}
