/**
 * A checkpoint as the emitter sees it, whatever file it comes from: sizes, and tensors under GGUF's names. Knows no format.
 */
import type { TensorFormat } from "./gguf/format.ts";
import { byteLengthOf } from "./gguf/format.ts";
import { CheckpointError } from "./gguf/error.ts";
import type { TokenizerDescription } from "./tokenizer/description.ts";
import type { ModelConfig } from "./types.ts";

export interface CheckpointTensor {
  /** As the file calls it, for messages. */
  readonly name: string;
  readonly format: TensorFormat;
  /** Row-major, slowest first: `[rows, columns]` of a matrix, `[columns]` of a vector. */
  readonly shape: readonly number[];
  /** Of its first byte in the source. */
  readonly offset: number;
  readonly byteLength: number;
}

export interface Checkpoint {
  readonly config: ModelConfig;
  /** By GGUF's names: `blk.0.attn_q.weight`. */
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  /** How rows of queries and keys are ordered in a head: a rotary pair side by side, or half a head apart. */
  readonly rotaryPairs: "neighbours" | "halves";
  /** What is added to the norms' weights: Gemma's are stored around 0. */
  readonly normOffset: number;
  readonly tokenizer: TokenizerDescription;
}

/** Rows `start .. end` of a matrix or vector as a tensor: rows lie one after the other, in every format. */
export function rowsOf(tensor: CheckpointTensor, start: number, end: number): CheckpointTensor {
  const [rows = 0, ...rest] = tensor.shape;
  if (start < 0 || end > rows) {
    throw new CheckpointError(
      `tensor ${JSON.stringify(tensor.name)} has ${rows} rows, but the configuration asks for ${end}`,
    );
  }
  const rowBytes = byteLengthOf(
    tensor.format,
    rest.reduce((product, size) => product * size, 1),
  );
  return {
    ...tensor,
    shape: [end - start, ...rest],
    offset: tensor.offset + start * rowBytes,
    byteLength: (end - start) * rowBytes,
  };
}
