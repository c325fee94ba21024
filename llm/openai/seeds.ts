/** Seeds as OpenAI's clients send them, any integer of 64 bits, and as the engine takes them: below 2^53, not negative. Pure. */
import { choiceSeed } from "../../engine/index.ts";

/** Those that the engine takes are themselves; each other one gets a stream of its own. */
export function engineSeed(given: number | bigint): number {
  if (given >= 0 && given <= Number.MAX_SAFE_INTEGER) return Number(given);
  const bits = BigInt.asUintN(64, BigInt(given));
  // The upper half is never so small as the number of an answer, whose seeds are made in the same way.
  return choiceSeed(Number(bits & 0xffff_ffffn), Number(bits >> 32n));
}

/** JSON as `JSON.parse` has it, but for a `seed` whose digits a number can't hold: it is the engine's by then. Throws SyntaxError. */
export function parseWithSeed(json: string): unknown {
  const body: unknown = JSON.parse(json);
  if (typeof body !== "object" || body === null || !("seed" in body)) return body;
  if (!Number.isInteger(body.seed) || Number.isSafeInteger(body.seed)) return body;
  /** By the objects that they are in. */
  const written = new Map<unknown, string>();
  const again: unknown = JSON.parse(json, function (this: unknown, key, value, context?: { readonly source?: string }) {
    if (key === "seed") written.set(this, context?.source ?? "");
    return value;
  });
  const digits = written.get(again) ?? "";
  if (/^-?\d{16,20}$/.test(digits) && BigInt.asIntN(64, BigInt(digits)) === BigInt(digits))
    body.seed = engineSeed(BigInt(digits));
  return body;
}
