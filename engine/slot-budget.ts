/** What keys and values take of memory. Pure. */
import type { ModelConfig } from "./types.ts";

/** Keys and values are f32 on every provider. */
const FLOAT = 4;

/** Bytes of keys and values that one token takes in a slot. */
export function kvBytesPerToken({
  layers,
  kvHeads,
  headDim,
}: Pick<ModelConfig, "layers" | "kvHeads" | "headDim">): number {
  return layers * kvHeads * headDim * 2 * FLOAT;
}
