/** Fields that say what an answer must look like: OpenAI's, and vLLM's extras. Pure. */
import * as z from "zod";
import type { GrammarFormat } from "../../engine/index.ts";
import { grammarOf, type ResponseFormat } from "../response-format.ts";
import { invalid, unsupported } from "./errors.ts";

/** An answer's grammar, and the field to name where it can't be compiled. */
export interface AskedGrammar {
  readonly format: GrammarFormat;
  readonly field: string;
}

const schema = z.looseObject({}, "expected a JSON Schema");
const choices = z.array(z.string().min(1)).min(1);
const named = { name: z.string().regex(/^[\w-]{1,64}$/, "expected 1 to 64 letters, digits, underscores or dashes") };

/** Of chats and completions. */
export const responseFormat = z
  .discriminatedUnion(
    "type",
    [
      z.looseObject({ type: z.literal("text") }),
      z.looseObject({ type: z.literal("json_object") }),
      z.looseObject({
        type: z.literal("json_schema"),
        json_schema: z.looseObject({ ...named, schema: schema.nullish() }),
      }),
    ],
    'expected the type "text", "json_object" or "json_schema"',
  )
  .nullish();

/** Of responses: a schema's fields stand beside its type. */
export const textFormat = z
  .discriminatedUnion(
    "type",
    [
      z.looseObject({ type: z.literal("text") }),
      z.looseObject({ type: z.literal("json_object") }),
      z.looseObject({ type: z.literal("json_schema"), ...named, schema }),
    ],
    'expected the type "text", "json_object" or "json_schema"',
  )
  .nullish();

const structured = z.looseObject({ json: schema.nullish(), regex: z.string().nullish(), choice: choices.nullish() });

/** vLLM's, of today and of before. */
export const structuredFields = {
  structured_outputs: structured.nullish(),
  guided_json: schema.nullish(),
  guided_regex: z.string().nullish(),
  guided_choice: choices.nullish(),
};
const structuredSchema = z.looseObject({ ...structuredFields, response_format: responseFormat });

/** What the fields of a chat or a completion ask for. Throws a 400 where they ask for two things, or for one that isn't known here. */
export function grammarAskedBy(fields: z.output<typeof structuredSchema>): AskedGrammar | undefined {
  for (const field of ["guided_grammar", "guided_whitespace_pattern"])
    if (fields[field] != null) throw unsupported(field, "give a JSON Schema, a regular expression or a choice.");
  const { structured_outputs: outputs } = fields;
  for (const key of ["grammar", "json_object", "structural_tag"])
    if (outputs?.[key] != null && outputs[key] !== false)
      throw unsupported(`structured_outputs.${key}`, "give 'json', 'regex' or 'choice'.");
  const asked = [
    formatAskedBy(fields.response_format),
    ...json("structured_outputs", outputs?.json),
    ...regex("structured_outputs", outputs?.regex),
    ...choice("structured_outputs", outputs?.choice),
    ...json("guided_json", fields.guided_json),
    ...regex("guided_regex", fields.guided_regex),
    ...choice("guided_choice", fields.guided_choice),
  ].filter((one) => one !== undefined);
  if (asked.length > 1)
    throw invalid(asked[1]!.field, `an answer has one form, and '${asked[0]!.field}' says another.`);
  return asked[0];
}

/** The same of `text.format`. */
export function textFormatAsked(format: z.output<typeof textFormat>): AskedGrammar | undefined {
  if (format == null || format.type === "text") return undefined;
  return asked(
    "text.format",
    format.type === "json_object" ? { type: "json_object" } : { type: "json_schema", schema: format.schema },
  );
}

function formatAskedBy(format: z.output<typeof responseFormat>): AskedGrammar | undefined {
  if (format == null || format.type === "text") return undefined;
  if (format.type === "json_object" || format.json_schema.schema == null)
    return asked("response_format", { type: "json_object" });
  return asked("response_format", { type: "json_schema", schema: format.json_schema.schema });
}

const asked = (field: string, format: ResponseFormat): AskedGrammar => ({ field, format: grammarOf(format) });
const json = (field: string, given: object | null | undefined): AskedGrammar[] =>
  given == null ? [] : [asked(field, { type: "json_schema", schema: given })];
const regex = (field: string, pattern: string | null | undefined): AskedGrammar[] =>
  pattern == null ? [] : [asked(field, { type: "regex", pattern })];
const choice = (field: string, given: readonly string[] | null | undefined): AskedGrammar[] =>
  given == null ? [] : [asked(field, { type: "choice", choices: given })];
