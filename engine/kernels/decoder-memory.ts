/** Where everything of a decoder lies in one WebAssembly memory: weights, keys and values, and what a step works with. Pure arithmetic. */
import { WASM_HEAP_MAX } from "../limits.ts";
import { BLOCK } from "../onnx/pack.ts";
import type { KvLayout } from "../providers/kv.ts";
import type { ModelConfig } from "../types.ts";
import { stepWords } from "./step-words.ts";

export const PAGE = 65_536;
const FLOAT = 4;
const ALIGNMENT = 64;

/** Rows of a step at most: what a longer prompt gains by being computed together is little, and each row takes room. */
const STEP_ROWS_MAX = 256;
/** Rows that matrices are multiplied with at a time: results of whole tiles are written. */
export const TILE = 4;
/** Positions that attention reads behind the last one. */
const READ_BEHIND = 3;

/** Sizes are element counts. */
export interface MemoryShape {
  readonly config: ModelConfig;
  readonly weightBytes: number;
  readonly kv: KvLayout;
  readonly threads: number;
  /** Tables of rotary angles: layers of one kind share one. */
  readonly rotations: number;
  readonly controlWords: number;
}

/** Addresses, in bytes. */
export interface DecoderMemory {
  /** Rows of a step at most. */
  readonly rows: number;
  /** What threads tell each other: see `team.ts`. */
  readonly control: number;
  /** What the step is: see `step-words.ts`. */
  readonly step: number;
  readonly weights: number;
  /** f32 `[slotLength, headDim / 2]` of each kind, cos and behind it sin. */
  readonly rotary: readonly { readonly cos: number; readonly sin: number }[];
  /** In the order of the layout's names. */
  readonly kv: readonly number[];
  /** f32 `[rows, embedding]`: the residual stream. */
  readonly residual: number;
  /** f32 `[rows, widest]`: input of the next product. */
  readonly x: number;
  /** The same as 16-bit quants in tiles, and their factors. */
  readonly quants: number;
  readonly factors: number;
  readonly query: number;
  readonly key: number;
  readonly value: number;
  /** f32 `[rows, embedding]`: what joins the stream next. */
  readonly branch: number;
  readonly gate: number;
  readonly up: number;
  /** f32 `[slots, vocabulary]` */
  readonly logits: number;
  /** f32, for each thread: scores of one head. */
  readonly scores: readonly number[];
  readonly pages: number;
}

/** Throws a RangeError where it is more than WebAssembly can address. */
export function layOut({ config, weightBytes, kv, threads, rotations, controlWords }: MemoryShape): DecoderMemory {
  const { heads, kvHeads, headDim, embedding, feedForward, vocabulary } = config;
  const { slots, slotLength } = kv;
  const rows = Math.min(STEP_ROWS_MAX, tiled(Math.max(slots, slotLength)));
  let end = 0;
  const take = (bytes: number): number => {
    const at = end;
    end = Math.ceil((at + bytes) / ALIGNMENT) * ALIGNMENT;
    return at;
  };
  const floats = (count: number): number => take(count * FLOAT);
  const control = take(controlWords * 4);
  const step = take(stepWords(rows) * 4);
  const weights = take(weightBytes);
  const table = slotLength * (headDim / 2);
  const rotary = Array.from({ length: rotations }, () => ({ cos: floats(table), sin: floats(table) }));
  const kvBytes = kv.names.length * (slots * kv.slotElements + READ_BEHIND * headDim) * FLOAT;
  const kvAt = kv.names.map(() => floats(slots * kv.slotElements + READ_BEHIND * headDim));
  const wide = heads * headDim;
  const widest = Math.max(embedding, wide, feedForward);
  const memory = {
    rows,
    control,
    step,
    weights,
    rotary,
    kv: kvAt,
    residual: floats(rows * embedding),
    x: floats(rows * widest),
    quants: take(rows * widest * 2),
    factors: floats(2 * rows * Math.ceil(widest / BLOCK)),
    query: floats(rows * wide),
    key: floats(rows * kvHeads * headDim),
    value: floats(rows * kvHeads * headDim),
    branch: floats(rows * embedding),
    gate: floats(rows * feedForward),
    up: floats(rows * feedForward),
    logits: floats(tiled(slots) * vocabulary),
    scores: Array.from({ length: threads }, () => floats(slotLength + READ_BEHIND)),
  };
  if (end > WASM_HEAP_MAX) {
    throw new RangeError(
      `the model takes ${megabytes(end)} on wasm (${megabytes(weightBytes)} of weights, ${megabytes(kvBytes)} of keys and values in ${slots} slots of ${slotLength} tokens), and WebAssembly addresses ${megabytes(WASM_HEAP_MAX)}: use fewer or shorter slots, or a smaller model`,
    );
  }
  return { ...memory, pages: Math.ceil(end / PAGE) };
}

const tiled = (rows: number): number => Math.ceil(rows / TILE) * TILE;
const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
