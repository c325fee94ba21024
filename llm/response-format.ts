/** What an answer must look like, as callers say it, and as the engine does. Pure. */
import type { GrammarFormat } from "../engine/index.ts";

/** The form of an answer: the model can't leave it. */
export type ResponseFormat =
  /** Any JSON object. */
  | { readonly type: "json_object" }
  /** JSON that fits a JSON Schema. */
  | { readonly type: "json_schema"; readonly schema: object }
  /** A text that the whole of a regular expression matches. */
  | { readonly type: "regex"; readonly pattern: string }
  /** One of these texts. */
  | { readonly type: "choice"; readonly choices: readonly string[] }
  /** A text of a grammar in EBNF, from its rule `root`. */
  | { readonly type: "grammar"; readonly grammar: string }
  /** xgrammar's structural tags: free text and held parts, by what the parts begin with. */
  | { readonly type: "structural_tag"; readonly format: GrammarFormat };

export function grammarOf(format: ResponseFormat): GrammarFormat {
  switch (format.type) {
    case "json_object":
      return { type: "json_schema", json_schema: { type: "object" } };
    case "json_schema":
      return { type: "json_schema", json_schema: format.schema };
    case "regex":
    case "grammar":
      return format;
    case "structural_tag":
      return format.format;
    case "choice":
      return { type: "or", elements: format.choices.map((value) => ({ type: "const_string", value })) };
  }
}
