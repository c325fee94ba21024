/** Reading a request's fields: unknown ones are ignored, null is as good as left out, a wrong one is named by its path. Pure. */
import * as z from "zod";
import { ApiError } from "./errors.ts";

/** Reads a body with a schema. Throws a 400 whose `param` is the first field that is wrong. */
export function read<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  if (typeof body !== "object" || body === null || Array.isArray(body))
    throw new ApiError(400, "The body must be a JSON object.", { code: "invalid_json" });
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const param = pathOf(issue.path);
  const missing = issue.code === "invalid_type" && valueAt(body, issue.path) === undefined;
  throw new ApiError(
    400,
    missing
      ? `Missing required parameter: '${param}'.`
      : `Invalid '${param}': ${issue.message}${issue.message.endsWith(".") ? "" : "."}`,
    {
      param,
      code: missing ? "missing_required_parameter" : issue.code === "invalid_type" ? "invalid_type" : "invalid_value",
    },
  );
}

function pathOf(path: readonly PropertyKey[]): string {
  return path
    .map((key, at) => (typeof key === "number" ? `[${key}]` : at === 0 ? String(key) : `.${String(key)}`))
    .join("");
}

const valueAt = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | null | undefined)?.[key], value);

/** Between bounds, both allowed. */
export const between = (low: number, high: number) =>
  z
    .number()
    .refine((n) => n >= low && n <= high, `expected a number between ${low} and ${high}`)
    .nullish();

/** A whole number between bounds, both allowed. */
export const whole = (low: number, high = Number.MAX_SAFE_INTEGER) =>
  z
    .number()
    .refine(
      (n) => Number.isSafeInteger(n) && n >= low && n <= high,
      high === Number.MAX_SAFE_INTEGER
        ? `expected a whole number of at least ${low}`
        : `expected a whole number between ${low} and ${high}`,
    )
    .nullish();

export const flag = z.boolean().nullish();
export const text = z.string().nullish();
