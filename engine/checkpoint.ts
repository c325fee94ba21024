/**
 * A checkpoint as the emitter sees it, whatever file it comes from: sizes, and tensors under GGUF's names. Knows no format.
 */
import type { TensorFormat } from "./gguf/format.ts";
import { byteLengthOf } from "./gguf/format.ts";
import { CheckpointError } from "./gguf/error.ts";
import type { ByteSource } from "./gguf/source.ts";
import type { TokenizerDescription } from "./tokenizer/description.ts";
import type { ModelConfig } from "./types.ts";

/** Where bytes lie in the source. */
export interface ByteRange {
  readonly offset: number;
  readonly byteLength: number;
}

export interface CheckpointTensor {
  /** As the file calls it, for messages. */
  readonly name: string;
  readonly format: TensorFormat;
  /** Row-major, slowest first: `[rows, columns]` of a matrix, `[columns]` of a vector. */
  readonly shape: readonly number[];
  /** Of its first byte in the source. */
  readonly offset: number;
  readonly byteLength: number;
  /** Where the file has it in another form: made from these ranges; `offset` means nothing then. */
  readonly made?: {
    readonly from: readonly ByteRange[];
    readonly make: (parts: readonly Uint8Array[]) => Uint8Array;
  };
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

/** A tensor's bytes in its format. */
export async function readTensor(
  { offset, byteLength, made }: CheckpointTensor,
  source: ByteSource,
): Promise<Uint8Array> {
  if (made === undefined) return source.read(offset, byteLength);
  const parts: Uint8Array[] = [];
  for (const range of made.from) parts.push(await source.read(range.offset, range.byteLength));
  return made.make(parts);
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
  const { made } = tensor;
  return {
    ...tensor,
    shape: [end - start, ...rest],
    offset: tensor.offset + start * rowBytes,
    byteLength: (end - start) * rowBytes,
    ...(made && { made: { ...made, make: (parts) => made.make(parts).subarray(start * rowBytes, end * rowBytes) } }),
  };
}
