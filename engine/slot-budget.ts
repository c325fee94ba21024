/** What keys and values take of memory, and how many slots there is room for. Pure. */
import { KV_MEMORY_SHARE, WASM_HEAP_MAX } from "./limits.ts";
import type { ModelConfig, ProviderName } from "./types.ts";

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

/**
 * Bytes that keys and values may take: a share of what the weights leave of `memory`, bytes that are free before they are loaded. On
 * `wasm` both share its heap. A GPU has memory of its own, of which this machine's says nothing.
 */
export function kvBudget(provider: ProviderName, memory: number, weightBytes: number): number {
  if (provider === "webgpu") return Infinity;
  const whole = provider === "wasm" ? Math.min(memory, WASM_HEAP_MAX) : memory;
  return KV_MEMORY_SHARE * Math.max(0, whole - weightBytes);
}

/** As many slots as fit into `bytes`, at most `most`, at least one: the provider itself says what it can't do. */
export function slotsWithin(bytes: number, slotBytes: number, most: number): number {
  return Math.max(1, Math.min(most, Math.floor(bytes / slotBytes)));
}
