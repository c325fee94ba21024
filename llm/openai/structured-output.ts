/** Fields that say what an answer must look like: OpenAI's, and vLLM's extras. Pure. */
import * as z from "zod";
import type { GrammarFormat, TagFormat } from "../../engine/index.ts";
import { grammarOf, type ResponseFormat } from "../response-format.ts";
import { invalid, unsupported } from "./errors.ts";

/** An answer's grammar, and the field to name where it can't be compiled. */
export interface AskedGrammar {
  readonly format: GrammarFormat;
  readonly field: string;
}

const schema = z.looseObject({}, "expected a JSON Schema");
const choices = z.array(z.string().min(1)).min(1);
const format = z.looseObject({}, "expected a structural tag's format");
/** xgrammar's of today, and of before. What is in a format, the engine reads. */
const structuralTag = z.union(
  [
    z.looseObject({ format }),
    z.looseObject({
      structures: z.array(z.looseObject({ begin: z.string(), schema, end: z.string() })),
      triggers: z.array(z.string()),
    }),
  ],
  "expected a structural tag: 'format', or 'structures' and 'triggers'",
);
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
      z.looseObject({ type: z.literal("structural_tag") }),
    ],
    'expected the type "text", "json_object", "json_schema" or "structural_tag"',
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

const structured = z.looseObject({
  json: schema.nullish(),
  regex: z.string().nullish(),
  choice: choices.nullish(),
  grammar: z.string().nullish(),
  json_object: z.boolean().nullish(),
  structural_tag: z.union([z.string(), z.looseObject({})], "expected a structural tag, or its JSON text").nullish(),
});

/** vLLM's, of today and of before. */
export const structuredFields = {
  structured_outputs: structured.nullish(),
  guided_json: schema.nullish(),
  guided_regex: z.string().nullish(),
  guided_choice: choices.nullish(),
  guided_grammar: z.string().nullish(),
};
const structuredSchema = z.looseObject({ ...structuredFields, response_format: responseFormat });

/** What the fields of a chat or a completion ask for. Throws a 400 where they ask for two things, or for one that isn't known here. */
export function grammarAskedBy(fields: z.output<typeof structuredSchema>): AskedGrammar | undefined {
  if (fields["guided_whitespace_pattern"] != null)
    throw unsupported("guided_whitespace_pattern", "JSON comes on one line.");
  const { structured_outputs: outputs } = fields;
  const tag = outputs?.structural_tag;
  const asked = [
    formatAskedBy(fields.response_format),
    ...json("structured_outputs", outputs?.json),
    ...regex("structured_outputs", outputs?.regex),
    ...choice("structured_outputs", outputs?.choice),
    ...grammar("structured_outputs", outputs?.grammar),
    ...(outputs?.json_object === true ? [asking("structured_outputs", { type: "json_object" })] : []),
    ...(tag == null ? [] : [structure("structured_outputs.structural_tag", tag)]),
    ...json("guided_json", fields.guided_json),
    ...regex("guided_regex", fields.guided_regex),
    ...choice("guided_choice", fields.guided_choice),
    ...grammar("guided_grammar", fields.guided_grammar),
  ].filter((one) => one !== undefined);
  if (asked.length > 1)
    throw invalid(asked[1]!.field, `an answer has one form, and '${asked[0]!.field}' says another.`);
  return asked[0];
}

/** An answer by a JSON Schema. */
export const schemaAsked = (field: string, given: object): AskedGrammar =>
  asking(field, { type: "json_schema", schema: given });

/** The same of `text.format`. */
export function textFormatAsked(format: z.output<typeof textFormat>): AskedGrammar | undefined {
  if (format == null || format.type === "text") return undefined;
  return asking(
    "text.format",
    format.type === "json_object" ? { type: "json_object" } : { type: "json_schema", schema: format.schema },
  );
}

function formatAskedBy(format: z.output<typeof responseFormat>): AskedGrammar | undefined {
  if (format == null || format.type === "text") return undefined;
  if (format.type === "structural_tag") return structure("response_format", format);
  if (format.type === "json_object" || format.json_schema.schema == null)
    return asking("response_format", { type: "json_object" });
  return asking("response_format", { type: "json_schema", schema: format.json_schema.schema });
}

const asking = (field: string, format: ResponseFormat): AskedGrammar => ({ field, format: grammarOf(format) });
const json = (field: string, given: object | null | undefined): AskedGrammar[] =>
  given == null ? [] : [asking(field, { type: "json_schema", schema: given })];
const regex = (field: string, pattern: string | null | undefined): AskedGrammar[] =>
  pattern == null ? [] : [asking(field, { type: "regex", pattern })];
const choice = (field: string, given: readonly string[] | null | undefined): AskedGrammar[] =>
  given == null ? [] : [asking(field, { type: "choice", choices: given })];
const grammar = (field: string, given: string | null | undefined): AskedGrammar[] =>
  given == null ? [] : [asking(field, { type: "grammar", grammar: given })];

/** From the value, or its JSON text. */
function structure(field: string, given: string | object): AskedGrammar {
  let value: unknown = given;
  try {
    if (typeof given === "string") value = JSON.parse(given);
  } catch {
    throw invalid(field, "expected the JSON text of an object.");
  }
  const read = structuralTag.safeParse(value);
  if (!read.success) throw invalid(field, `${read.error.issues[0]!.message}.`);
  if ("format" in read.data)
    return asking(field, { type: "structural_tag", format: read.data.format as GrammarFormat });
  const { structures, triggers } = read.data;
  const tags = structures.map(({ begin, schema: json_schema, end }): TagFormat => ({
    type: "tag",
    begin,
    content: { type: "json_schema", json_schema },
    end,
  }));
  return asking(field, { type: "structural_tag", format: { type: "triggered_tags", triggers, tags } });
}
