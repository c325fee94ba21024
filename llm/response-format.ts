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
  | { readonly type: "choice"; readonly choices: readonly string[] };

export function grammarOf(format: ResponseFormat): GrammarFormat {
  switch (format.type) {
    case "json_object":
      return { type: "json_schema", json_schema: { type: "object" } };
    case "json_schema":
      return { type: "json_schema", json_schema: format.schema };
    case "regex":
      return format;
    case "choice":
      return { type: "or", elements: format.choices.map((value) => ({ type: "const_string", value })) };
  }
}
