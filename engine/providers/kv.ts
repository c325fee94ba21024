/**
 * Slots of keys and values in one buffer per layer and part: `[slots, kvHeads, slotLength, headDim]` f32. Any prefix of slots is itself a
 * dense batch, and any slot a batch of one. Knows the arithmetic, not the memory.
 */
import type { PreparedModel } from "../prepare.ts";
import type { ModelConfig } from "../types.ts";

export interface RunnerOptions {
  /** Threads of the provider's own pool, including the caller's. */
  readonly threads: number;
  readonly slots: number;
  /** Tokens a slot holds. */
  readonly slotLength: number;
}

export interface KvLayout {
  /** One per layer and part, as the graph names them after `past.` and `present.`. */
  readonly names: readonly string[];
  readonly slots: number;
  readonly slotLength: number;
  /** Elements of one slot in one buffer. */
  readonly slotElements: number;
  /** Shape of `rows` slots as a tensor. */
  shape(rows: number): number[];
  /** The ranges of elements that hold the first `length` positions of `slot`, one per head. */
  ranges(slot: number, length: number): { readonly start: number; readonly end: number }[];
}

export function kvLayout({ layers, kvHeads, headDim }: ModelConfig, { slots, slotLength }: RunnerOptions): KvLayout {
  const slotElements = kvHeads * slotLength * headDim;
  return {
    names: Array.from({ length: layers }, (_, layer) => [`${layer}.k`, `${layer}.v`]).flat(),
    slots,
    slotLength,
    slotElements,
    shape: (rows) => [rows, kvHeads, slotLength, headDim],
    ranges: (slot, length) =>
      Array.from({ length: kvHeads }, (_, head) => {
        const start = slot * slotElements + head * slotLength * headDim;
        return { start, end: start + length * headDim };
      }),
  };
}

/** Throws a RangeError for options that the model can't be run with. */
export function assertOptions({ positions }: PreparedModel, { threads, slots, slotLength }: RunnerOptions): void {
  assertWhole("threads", threads, 1, 1_024);
  assertWhole("slots", slots, 1, 4_096);
  assertWhole("slotLength", slotLength, 1, positions);
}

function assertWhole(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${name} is ${value}; a whole number from ${least} to ${most} is expected`);
  }
}

/** What one run feeds beside the KV slots. `rows` sequences of `sequence` tokens, from slot `firstSlot` on. */
export interface Step {
  readonly firstSlot: number;
  readonly rows: number;
  readonly sequence: number;
  /** Row-major `[rows, sequence]`. */
  readonly tokens: Int32Array;
  /** Per row, tokens in its slot after the step, minus one. */
  readonly lastPositions: Int32Array;
  /** Tokens in the longest slot after the step. */
  readonly longest: number;
}

/** The step of `Runner.prefill`; throws a RangeError where it would leave the slot. */
export function prefillStep(
  { slots, slotLength }: KvLayout,
  config: ModelConfig,
  slot: number,
  tokens: Int32Array,
  start: number,
): Step {
  assertWhole("slot", slot, 0, slots - 1);
  assertWhole("the number of tokens", tokens.length, 1, slotLength);
  assertWhole("start", start, 0, slotLength - tokens.length);
  assertTokens(tokens, config);
  const last = start + tokens.length - 1;
  return {
    firstSlot: slot,
    rows: 1,
    sequence: tokens.length,
    tokens,
    lastPositions: Int32Array.of(last),
    longest: last + 1,
  };
}

/** The step of `Runner.decode`; throws a RangeError where it would leave a slot. */
export function decodeStep(
  { slots, slotLength }: KvLayout,
  config: ModelConfig,
  tokens: Int32Array,
  positions: Int32Array,
): Step {
  assertWhole("the number of rows", tokens.length, 1, slots);
  if (positions.length !== tokens.length)
    throw new RangeError(`${tokens.length} tokens came with ${positions.length} positions`);
  let longest = 0;
  for (const position of positions) {
    assertWhole("a position", position, 0, slotLength - 1);
    longest = Math.max(longest, position + 1);
  }
  assertTokens(tokens, config);
  return { firstSlot: 0, rows: tokens.length, sequence: 1, tokens, lastPositions: positions, longest };
}

/** Arguments of `Runner.copySlot`. */
export function assertCopy({ slots, slotLength }: KvLayout, from: number, to: number, length: number): void {
  assertWhole("from", from, 0, slots - 1);
  assertWhole("to", to, 0, slots - 1);
  assertWhole("length", length, 0, slotLength);
}

/** Copies the first positions of a slot in one buffer of the layout. */
export function copyPositions(
  { ranges }: KvLayout,
  buffer: Float32Array,
  from: number,
  to: number,
  length: number,
): void {
  const targets = ranges(to, length);
  ranges(from, length).forEach(({ start, end }, head) => buffer.copyWithin(targets[head]!.start, start, end));
}

/** Checked here because a provider names neither the token nor the sequence when it fails. */
function assertTokens(tokens: Int32Array, { vocabulary }: ModelConfig): void {
  for (const token of tokens) {
    if (token < 0 || token >= vocabulary)
      throw new RangeError(`token ${token} is outside the vocabulary of ${vocabulary}`);
  }
}

/** Those of all its tokens. */
export const everyToken = ({ rows, sequence }: Step): number[] =>
  Array.from({ length: rows * sequence }, (_, token) => token);

/** The flattened position of each row's last token: the rows whose logits are wanted. */
export function lastOfEachRow({ rows, sequence }: Step): number[] {
  return Array.from({ length: rows }, (_, row) => row * sequence + sequence - 1);
}
