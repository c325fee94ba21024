/**
 * What the configuration schema expects at a path, in words, and which keys it knows there.
 * Derived from protocol/config.ts, so that the two can't differ. Knows nothing of YAML.
 */
import * as z from "zod";
import { deploySchema } from "../../protocol/config.ts";

interface JsonSchema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly allOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly minLength?: number;
  readonly pattern?: string;
}

export type Path = readonly (string | number)[];

let root: JsonSchema | undefined;
const rootSchema = (): JsonSchema =>
  (root ??= z.toJSONSchema(deploySchema, { io: "input", unrepresentable: "any" }) as JsonSchema);

const alternatives = (schema: JsonSchema): readonly JsonSchema[] =>
  (schema.anyOf ?? schema.oneOf)?.flatMap(alternatives) ?? [schema];

/** The part of the schema that describes the value at `path`; undefined where anything goes or the path is unknown. */
function schemaAt(path: Path): JsonSchema | undefined {
  let found: JsonSchema | undefined = rootSchema();
  for (const step of path) {
    found = alternatives(found)
      .map((one): JsonSchema | undefined => {
        if (typeof step === "number") return one.items;
        const open = one.additionalProperties;
        return one.properties?.[step] ?? (typeof open === "object" ? open : undefined);
      })
      .find((one) => one !== undefined);
    if (found === undefined) return undefined;
  }
  return found;
}

/** Keys that the mapping at `path` may have; empty where any key goes. */
export function knownKeys(path: Path): string[] {
  const at = schemaAt(path);
  return at === undefined ? [] : alternatives(at).flatMap((one) => Object.keys(one.properties ?? {}));
}

/** "a whole number from 1 to 4096, or "auto"": undefined where the schema says nothing of use. */
export function expectedForm(path: Path): string | undefined {
  const at = schemaAt(path);
  if (at === undefined) return undefined;
  const forms = [...new Set(alternatives(at).flatMap((one) => (one.type === "null" ? [] : [inWords(one)])))].filter(
    (form) => form !== "",
  );
  return forms.length === 0 ? undefined : forms.join(", or ");
}

function inWords(schema: JsonSchema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.type === "integer" || schema.type === "number")
    return `${schema.type === "integer" ? "a whole number" : "a number"}${range(schema)}`;
  if (schema.type === "string") return schema.pattern === undefined ? "text" : "text of the right form";
  if (schema.type === "boolean") return "true or false";
  if (schema.type === "array") return "a list";
  return schema.type === "object" ? "a mapping (key: value)" : "";
}

function range(schema: JsonSchema): string {
  const bounded = (n: number | undefined): n is number => n !== undefined && Math.abs(n) < Number.MAX_SAFE_INTEGER;
  if (bounded(schema.exclusiveMinimum))
    return ` above ${schema.exclusiveMinimum}${bounded(schema.maximum) ? `, at most ${schema.maximum}` : ""}`;
  if (bounded(schema.minimum) && bounded(schema.maximum)) return ` from ${schema.minimum} to ${schema.maximum}`;
  if (bounded(schema.minimum)) return `, ${schema.minimum} or more`;
  return bounded(schema.maximum) ? `, at most ${schema.maximum}` : "";
}
