/**
 * The grammar of calls: an answer that must be one, and an answer that may hold some, whose arguments fit as soon as a call begins. What begins a
 * call is what `tool-call-parser.ts` takes for one. Pure.
 */
import type { GrammarFormat, TagFormat } from "../../engine/index.ts";
import type { Tool, ToolStyle } from "./tool-style.ts";

/** How a call is written around its name and arguments. */
interface Way {
  /** What it is known by. */
  readonly open: string;
  /** `open` and what follows before the object. */
  readonly begin: string;
  readonly key: "arguments" | "parameters";
  /** Behind the arguments. */
  readonly end: string;
}

interface Ways {
  /** Of a call that is wanted. */
  readonly forced: Way;
  /** Anywhere in an answer. */
  readonly marked: Way;
  /** Without a mark, at the beginning of an answer alone. */
  readonly bare: readonly Way[];
}

const way = (open: string, begin: string, key: Way["key"], end: string): Way => ({ open, begin, key, end });
const HERMES = way("<tool_call>", "<tool_call>\n", "arguments", "}\n</tool_call>");
const OBJECT = way("{", "", "parameters", "}");

/** Gemma may also write JSON, which can be held to a schema. */
const WAYS: Readonly<Record<ToolStyle, Ways>> = {
  hermes: { forced: HERMES, marked: HERMES, bare: [] },
  llama: {
    forced: OBJECT,
    marked: way("<|python_tag|>", "<|python_tag|>", "parameters", "}"),
    bare: [OBJECT],
  },
  gemma: {
    forced: OBJECT,
    marked: way("```tool_code", "```tool_code\n", "parameters", "}\n```"),
    bare: [OBJECT, way("[", "[", "parameters", "}]")],
  },
};

const NOTHING = { type: "object", properties: {}, additionalProperties: false };

function tagOf({ function: { name } }: Tool, { begin, key, end }: Way, json_schema: object): TagFormat {
  return {
    type: "tag",
    begin: `${begin}{"name": "${name}", "${key}": `,
    content: { type: "json_schema", json_schema },
    end,
  };
}

/** Without marks of their own, two calls are not told apart dependably. */
const endsWithFirst = (style: ToolStyle, onlyOne: boolean): boolean => onlyOne || WAYS[style].bare.length > 0;

/**
 * An answer that calls one of these functions, or several of them one after the other, with arguments that fit their schemas.
 * @param onlyOne the answer ends with its first call
 */
export function callsFormat(style: ToolStyle, tools: readonly Tool[], onlyOne: boolean): GrammarFormat {
  const tags = tools.map((tool) => tagOf(tool, WAYS[style].forced, tool.function.parameters ?? NOTHING));
  const stop_after_first = endsWithFirst(style, onlyOne);
  return { type: "tags_with_separator", tags, separator: "\n", at_least_one: true, stop_after_first };
}

/**
 * An answer in any words, in which each call is of one of these functions, and a strict one's arguments fit its schema.
 * @param onlyOne the answer ends with its first call
 */
export function heldCallsFormat(style: ToolStyle, tools: readonly Tool[], onlyOne: boolean): GrammarFormat {
  const { marked, bare } = WAYS[style];
  const tags = (wayOf: Way): TagFormat[] =>
    tools.map((tool) => {
      const { strict, parameters } = tool.function;
      return tagOf(tool, wayOf, strict === true ? (parameters ?? NOTHING) : { type: "object" });
    });
  const text: GrammarFormat = {
    type: "triggered_tags",
    triggers: [marked.open],
    tags: tags(marked),
    stop_after_first: endsWithFirst(style, onlyOne),
  };
  if (bare.length === 0) return text;
  const space: GrammarFormat = { type: "grammar", grammar: `root ::= ${SPACE}*` };
  const call: GrammarFormat = { type: "or", elements: [...bare, marked].flatMap(tags) };
  const opening = openingOf(bare.map(({ open }) => open).join(""), marked.open);
  const ways: GrammarFormat[][] = [[space], [space, call], [{ type: "grammar", grammar: opening }, text]];
  return { type: "or", elements: ways.map((elements) => ({ type: "sequence", elements })) };
}

/** What the parser passes over before a call. */
const SPACES = "\\t\\n\\u000b\\u000c\\r ";
const SPACE = `[${SPACES}]`;

/**
 * How an answer begins that begins with no call: up to the sign that tells it from all of `bare` and from the mark. The mark's first sign may not be
 * that one: another mark might begin there.
 */
function openingOf(bare: string, mark: string): string {
  const signs = [...mark].map(escaped);
  const ways = signs.map((sign, at) =>
    at === 0
      ? `[^${SPACES}${[...bare].map(escaped).join("")}${sign}]`
      : `"${signs.slice(0, at).join("")}" [^${signs[0]!}${sign}]`,
  );
  return `root ::= ${SPACE}* (${ways.join(" | ")})`;
}

const escaped = (sign: string): string => `\\u${sign.codePointAt(0)!.toString(16).padStart(4, "0")}`;
