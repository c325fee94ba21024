/** JSON objects from strangers' bytes, and the numbers of config.json. */
import { CheckpointError } from "../gguf/error.ts";

export type JsonRecord = Readonly<Record<string, unknown>>;

export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The object that `bytes` spell; throws CheckpointError naming `what`. */
export function parseJson(bytes: Uint8Array, what: string): JsonRecord {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new CheckpointError(`${what} isn't JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!isRecord(value)) throw new CheckpointError(`${what} isn't a JSON object`);
  return value;
}

/** Largest sensible value of a count: a guard against nonsense, far above any model. */
const MOST = 16_777_216;

/** A positive number of config.json; throws CheckpointError where it is missing without a fallback, or nonsense. */
export function numberOf(config: JsonRecord, key: string, fallback?: number): number {
  const value = config[key] ?? fallback;
  if (typeof value !== "number" || !Number.isFinite(value) || value <= 0 || value > MOST) {
    throw new CheckpointError(
      `config.json: ${key} is ${value === undefined ? "missing" : JSON.stringify(value)}; a positive number is expected`,
    );
  }
  return value;
}

/** The same, and whole. */
export function countOf(config: JsonRecord, key: string, fallback?: number): number {
  const value = numberOf(config, key, fallback);
  if (!Number.isInteger(value))
    throw new CheckpointError(`config.json: ${key} is ${value}; a whole number is expected`);
  return value;
}
