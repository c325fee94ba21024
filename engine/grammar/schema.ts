/** What is done to a JSON Schema before the compiler gets it: keywords that it would pass over are refused, bounds of numbers are taken out of its hands. */
import { GrammarError } from "../refusals.ts";
import { preparePattern } from "./classes.ts";
import { numberBetween, wholeBetween } from "./numbers.ts";

type Schema = Readonly<Record<string, unknown>>;

/** Keywords that the compiler passes over in silence. */
const NOT_ENFORCED = new Set([
  "not",
  "if",
  "then",
  "else",
  "multipleOf",
  "uniqueItems",
  "contains",
  "minContains",
  "maxContains",
  "dependentRequired",
  "dependentSchemas",
  "unevaluatedItems",
  "unevaluatedProperties",
]);

/** Keywords whose value is a schema or a list of schemas, and those that have schemas by name. */
const INNER = new Set(["items", "additionalProperties", "propertyNames", "prefixItems", "anyOf", "oneOf", "allOf"]);
const INNER_NAMED = new Set(["properties", "patternProperties", "$defs", "definitions"]);

const BOUNDS = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"];

/** Schemas within schemas: so deep the compiler doesn't go either. */
const DEPTH_MAX = 64;

/** A schema for the compiler, and the rules that its stand-ins stand for. */
export interface PreparedSchema {
  readonly schema: unknown;
  /** The value of a stand-in, a text that the schema has as a `const`, with its rule in EBNF. */
  readonly rules: ReadonlyMap<string, string>;
}

/** Throws a GrammarError that names what isn't supported. */
export function prepareSchema(root: object | boolean): PreparedSchema {
  let mark = "@number";
  for (const text = JSON.stringify(root); text.includes(mark);) mark += "@";
  const rules = new Map<string, string>();

  function prepare(given: unknown, depth: number): unknown {
    if (depth > DEPTH_MAX) throw new GrammarError("it is nested too deeply");
    if (Array.isArray(given)) return given.map((one) => prepare(one, depth + 1));
    if (typeof given !== "object" || given === null) return given;
    const schema: Record<string, unknown> = {};
    for (const [keyword, value] of Object.entries(given)) {
      if (NOT_ENFORCED.has(keyword) && value !== false)
        throw new GrammarError(`the keyword "${keyword}" is not supported in a schema`);
      if (keyword === "pattern" && typeof value === "string") schema[keyword] = preparePattern(value);
      else if (INNER.has(keyword)) schema[keyword] = prepare(value, depth + 1);
      else if (INNER_NAMED.has(keyword) && isSchema(value)) schema[keyword] = named(keyword, value, depth);
      else schema[keyword] = value;
    }
    return bounded(schema);
  }

  function named(keyword: string, schemas: Schema, depth: number): object {
    // The compiler writes a name out as it is, where JSON would escape it.
    if (keyword === "properties" && /["\\\p{Cc}]/u.test(Object.keys(schemas).join("")))
      throw new GrammarError("a property's name must not have quotes, backslashes or control characters");
    const nameOf = keyword === "patternProperties" ? preparePattern : String;
    return Object.fromEntries(
      Object.entries(schemas).map(([name, inner]) => [nameOf(name), prepare(inner, depth + 1)]),
    );
  }

  function bounded(schema: Schema): Schema {
    if (!BOUNDS.some((keyword) => keyword in schema) || "enum" in schema || "const" in schema) return schema;
    const types = Array.isArray(schema["type"]) ? (schema["type"] as unknown[]) : [schema["type"]];
    const rest = Object.fromEntries(Object.entries(schema).filter(([keyword]) => !BOUNDS.includes(keyword)));
    const ways = types.map((type): Schema => {
      if (type === undefined) throw new GrammarError("bounds of a number need a type beside them");
      if (type !== "integer" && type !== "number") return { ...rest, type };
      const standIn = `${mark}${rules.size}`;
      rules.set(standIn, ruleOf(schema, type));
      return { const: standIn };
    });
    return ways.length === 1 ? ways[0]! : { anyOf: ways };
  }

  const schema = prepare(root, 0);
  return { schema, rules };
}

const isSchema = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function ruleOf(schema: Schema, type: "integer" | "number"): string {
  const [minimum, above, maximum, below] = BOUNDS.map((keyword) => {
    const value = schema[keyword];
    if (value !== undefined && typeof value !== "number") throw new GrammarError(`"${keyword}" must be a number`);
    return value;
  });
  const min = Math.max(minimum ?? -Infinity, above ?? -Infinity);
  const max = Math.min(maximum ?? Infinity, below ?? Infinity);
  const excludes = { min: min === above, max: max === below };
  const rule =
    type === "number"
      ? numberBetween({ min, max }, excludes)
      : wholeBetween({ min: excludes.min ? Math.floor(min) + 1 : min, max: excludes.max ? Math.ceil(max) - 1 : max });
  if (rule === undefined) throw new GrammarError(`there is no ${type} from ${min} to ${max} that could be said`);
  return rule;
}
