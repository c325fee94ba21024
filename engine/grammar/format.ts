/**
 * What an answer must look like: formats in the words of xgrammar's structural tags. Plain values that can be cloned; checked for their size here.
 * Whether one can be compiled is for `checker.ts` to find out.
 */
import { GRAMMAR_CHARACTERS_MAX } from "../limits.ts";
import { GrammarError } from "../refusals.ts";

export type GrammarFormat =
  /** JSON that fits the schema, on one line, an object's properties in the schema's order. */
  | { readonly type: "json_schema"; readonly json_schema: object | boolean }
  | { readonly type: "regex"; readonly pattern: string }
  /** A grammar in EBNF whose rule "root" is the whole. */
  | { readonly type: "grammar"; readonly grammar: string }
  | { readonly type: "any_text" }
  | { readonly type: "const_string"; readonly value: string }
  | { readonly type: "or" | "sequence"; readonly elements: readonly GrammarFormat[] }
  | TagFormat
  /** Any text, in which each trigger begins one of the tags. */
  | ({ readonly type: "triggered_tags"; readonly triggers: readonly string[] } & Tags)
  | ({ readonly type: "tags_with_separator"; readonly separator: string } & Tags);

interface Tags {
  readonly tags: readonly TagFormat[];
  readonly at_least_one?: boolean;
  readonly stop_after_first?: boolean;
}

export interface TagFormat {
  readonly type: "tag";
  readonly begin: string;
  readonly content: GrammarFormat;
  readonly end: string;
}

/** What a format is known by. Throws a GrammarError where it is too large. */
export function keyOf(format: GrammarFormat): string {
  const key = textOf(format);
  if (key.length > GRAMMAR_CHARACTERS_MAX)
    throw new GrammarError(`it has ${key.length} characters as JSON; at most ${GRAMMAR_CHARACTERS_MAX} are taken`);
  return key;
}

/** Recursion is bounded by the engine's stack alone: what overflows it is no grammar. */
function textOf(format: GrammarFormat): string {
  try {
    return JSON.stringify(format);
  } catch (cause) {
    throw new GrammarError("it can't be written as JSON", { cause });
  }
}
