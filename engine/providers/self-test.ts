/**
 * Checks a GPU against plain arithmetic before it may serve: attention for prompts in chunks with a past, one token, and batches of rows of
 * different lengths; multiplication by n-bit weights. Found need: on devices with `subgroups` of size 4 ONNX Runtime's kernel for 32 and more
 * tokens gives wrong results.
 */
import { GraphBuilder } from "../onnx/graph.ts";
import { prf } from "../prf.ts";
import { type AttentionShape, attend, rotate } from "../reference/attention.ts";
import { checkMultiplication, type Multiplication } from "./multiplication-test.ts";
import type { GpuRuntime, GpuSession } from "./ort-webgpu.ts";

const THETA = 10_000;
const POSITIONS = 128;
/** Chunk lengths, one after another in the same slot: both sides of 32, with and without a past, then decoding. */
const CHUNKS = [33, 64, 1];
/** Tokens of each row of a batch before it decodes: as different as they are in a crowd. */
const PASTS = [70, 1, 33, 64, 5, 31, 2, 50];
/** What lies behind a row's past, and must not be looked at: wrong by far if it is. */
const GARBAGE = 10;
/** Values are about 1; f32 kernels err by 1e-5, the wrong ones by 0.1 and more. */
const TOLERANCE = 5e-3;

/** One thing that was tried. */
export interface Check {
  readonly what: string;
  /** NaN where the device gave one. */
  readonly error: number;
  readonly tolerance: number;
}

/**
 * Runs the test on the device with the attention of the model that it is to serve, and with one multiplication for each width of weights that
 * it has: kernels are specialised for sizes, and those compiled here are used again.
 */
export async function selfTest(
  gpu: GpuRuntime,
  shape: AttentionShape,
  multiplications: readonly Multiplication[],
): Promise<readonly Check[]> {
  const checks = [...(await checkAttention(gpu, shape))];
  const widths = new Map(multiplications.map((multiplication) => [multiplication.bits, multiplication]));
  for (const multiplication of widths.values()) checks.push(await checkMultiplication(gpu, multiplication));
  return checks;
}

/** What failed, as a sentence's end; undefined where nothing did. */
export function faultOf(checks: readonly Check[]): string | undefined {
  // NaN is not within any tolerance.
  const faults = checks.filter(({ error, tolerance }) => !(error <= tolerance));
  if (faults.length === 0) return undefined;
  return faults.map(({ what, error }) => `${what} is off by ${error.toPrecision(2)}`).join(", ");
}

async function checkAttention(gpu: GpuRuntime, shape: AttentionShape): Promise<readonly Check[]> {
  const session = await gpu.createSession(attentionGraph(shape), undefined, ["present_key", "present_value"]);
  const slotElements = shape.kvHeads * POSITIONS * shape.headDim;
  const buffers = [0, 1].map(() => gpu.buffer(PASTS.length * slotElements * 4));
  const attention = new Attention(gpu, session, shape, buffers);
  try {
    return [
      { what: "attention", error: await checkChunks(attention), tolerance: TOLERANCE },
      { what: "attention of a batch", error: await checkBatches(attention), tolerance: TOLERANCE },
    ];
  } finally {
    await session.release();
    for (const buffer of buffers) buffer.destroy();
  }
}

/** Numbers in [-1, 1]. */
const noise = (seed: number, start: number, length: number): Float32Array<ArrayBuffer> =>
  Float32Array.from({ length }, (_, i) => 2 * prf(seed, start + i) - 1);

async function checkChunks({ shape, run }: Attention): Promise<number> {
  const oracle = new Oracle(shape);
  let worst = 0;
  for (const [index, length] of CHUNKS.entries()) {
    const values = tokensOf(shape, index * 1_000_000, length);
    const expected = oracle.chunk(values, length);
    worst = Math.max(worst, difference(await run(values, [oracle.length - 1], length), expected));
  }
  return worst;
}

/** All rows have their past; the first row decodes, the first two, and so on. */
async function checkBatches({ gpu, shape, buffers, run }: Attention): Promise<number> {
  const { heads, kvHeads, headDim } = shape;
  const kvWidth = kvHeads * headDim;
  const pasts = buffers.map(() => new Float32Array(PASTS.length * kvWidth * POSITIONS));
  for (const past of pasts) past.fill(GARBAGE);
  const tokens = tokensOf(shape, 0, PASTS.length);
  const expected = new Float32Array(PASTS.length * heads * headDim);
  for (const [row, length] of PASTS.entries()) {
    const [keys, values] = [4, 5].map((seed) => noise(seed, row * 1_000_000, length * kvWidth));
    for (const [part, source] of [keys!, values!].entries()) {
      for (let head = 0; head < kvHeads; head++) {
        for (let position = 0; position < length; position++) {
          const at = position * kvWidth + head * headDim;
          const to = ((row * kvHeads + head) * POSITIONS + position) * headDim;
          pasts[part]!.set(source.subarray(at, at + headDim), to);
        }
      }
    }
    const oracle = new Oracle(shape, withNeighbouringPairs(keys!, headDim), values!);
    expected.set(oracle.chunk(part(tokens, row, PASTS.length), 1), row * heads * headDim);
  }
  buffers.forEach((buffer, i) => gpu.write(buffer, pasts[i]!));
  let worst = 0;
  for (let rows = 1; rows <= PASTS.length; rows++) {
    const values = tokens.map((all) => all.subarray(0, (all.length / PASTS.length) * rows)) as unknown as Tokens;
    const actual = await run(values, PASTS.slice(0, rows), 1);
    worst = Math.max(worst, difference(actual, expected.subarray(0, rows * heads * headDim)));
  }
  return worst;
}

/** Queries, keys and values of tokens, row-major. */
type Tokens = readonly [query: Float32Array, key: Float32Array, value: Float32Array];

const tokensOf = ({ heads, kvHeads, headDim }: AttentionShape, start: number, count: number): Tokens => [
  noise(1, start, count * heads * headDim),
  noise(2, start, count * kvHeads * headDim),
  noise(3, start, count * kvHeads * headDim),
];

const part = (tokens: Tokens, row: number, rows: number): Tokens =>
  tokens.map((all) => all.subarray((all.length / rows) * row, (all.length / rows) * (row + 1))) as unknown as Tokens;

function difference(actual: Float32Array, expected: Float32Array): number {
  if (actual.length !== expected.length) return NaN;
  // NaN stays NaN.
  return expected.reduce((most, value, i) => Math.max(most, Math.abs(actual[i]! - value)), 0);
}

/** The session, over buffers with room for all rows. */
class Attention {
  readonly gpu: GpuRuntime;
  readonly shape: AttentionShape;
  readonly buffers: readonly GPUBuffer[];
  readonly #session: GpuSession;

  constructor(gpu: GpuRuntime, session: GpuSession, shape: AttentionShape, buffers: readonly GPUBuffer[]) {
    this.gpu = gpu;
    this.shape = shape;
    this.buffers = buffers;
    this.#session = session;
  }

  /** So many tokens for each row, whose last one comes at the position that `lastPositions` has for it. */
  readonly run = async (
    [query, key, value]: Tokens,
    lastPositions: readonly number[],
    length: number,
  ): Promise<Float32Array> => {
    const { heads, kvHeads, headDim } = this.shape;
    const rows = lastPositions.length;
    const [pastKey, pastValue] = this.buffers.map((buffer) =>
      this.gpu.overBuffer(buffer, [rows, kvHeads, POSITIONS, headDim]),
    ) as [never, never];
    const outputs = await this.#session.run(
      {
        query: this.gpu.float32(query, [rows, length, heads * headDim]),
        key: this.gpu.float32(key, [rows, length, kvHeads * headDim]),
        value: this.gpu.float32(value, [rows, length, kvHeads * headDim]),
        past_key: pastKey,
        past_value: pastValue,
        last_position: this.gpu.int32(Int32Array.from(lastPositions), [rows]),
        total_length: this.gpu.int32(Int32Array.of(Math.max(...lastPositions) + 1), [1]),
      },
      { attended: null, present_key: pastKey, present_value: pastValue },
    );
    const attended = (await outputs["attended"]!.getData()) as Float32Array;
    outputs["attended"]!.dispose();
    return attended;
  };
}

function attentionGraph({ heads, kvHeads, headDim }: AttentionShape): Uint8Array {
  const graph = new GraphBuilder();
  graph.input("query", "float32", ["batch", "sequence", heads * headDim]);
  for (const name of ["key", "value"]) graph.input(name, "float32", ["batch", "sequence", kvHeads * headDim]);
  for (const name of ["past_key", "past_value"]) graph.input(name, "float32", ["batch", kvHeads, "positions", headDim]);
  graph.input("last_position", "int32", ["batch"]);
  graph.input("total_length", "int32", [1]);
  const half = headDim / 2;
  const angles = Float64Array.from(
    { length: POSITIONS * half },
    (_, i) => Math.floor(i / half) / Math.pow(THETA, (2 * (i % half)) / headDim),
  );
  const cos = graph.constant("cos", "float32", [POSITIONS, half], Float32Array.from(angles, Math.cos));
  const sin = graph.constant("sin", "float32", [POSITIONS, half], Float32Array.from(angles, Math.sin));
  graph.contrib(
    "GroupQueryAttention",
    ["query", "key", "value", "past_key", "past_value", "last_position", "total_length", cos, sin],
    ["attended", "present_key", "present_value"],
    { num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1 },
  );
  graph.output("attended", "float32", ["batch", "sequence", heads * headDim]);
  for (const name of ["present_key", "present_value"])
    graph.output(name, "float32", ["batch", kvHeads, "positions", headDim]);
  return graph.finish().graph;
}

/** The same sequence in plain arithmetic, one token after another. */
class Oracle {
  readonly #shape: AttentionShape;
  readonly #keys: Float32Array;
  readonly #values: Float32Array;
  length: number;

  /** Of a sequence that has these keys, which were rotated, and values. */
  constructor(
    shape: AttentionShape,
    keys: Float32Array = new Float32Array(0),
    values: Float32Array = new Float32Array(0),
  ) {
    this.#shape = shape;
    const kvWidth = shape.kvHeads * shape.headDim;
    this.length = keys.length / kvWidth;
    this.#keys = new Float32Array(POSITIONS * kvWidth);
    this.#keys.set(keys);
    this.#values = new Float32Array(POSITIONS * kvWidth);
    this.#values.set(values);
  }

  chunk([query, key, value]: Tokens, count: number): Float32Array {
    const { heads, kvHeads, headDim } = this.#shape;
    const width = heads * headDim;
    const kvWidth = kvHeads * headDim;
    const out = new Float32Array(count * width);
    for (let i = 0; i < count; i++) {
      const position = this.length++;
      const q = withNeighbouringPairs(query.subarray(i * width, (i + 1) * width), headDim);
      const k = withNeighbouringPairs(key.subarray(i * kvWidth, (i + 1) * kvWidth), headDim);
      rotate(q, headDim, position, THETA);
      rotate(k, headDim, position, THETA);
      this.#keys.set(k, position * kvWidth);
      this.#values.set(value.subarray(i * kvWidth, (i + 1) * kvWidth), position * kvWidth);
      out.set(attend(q, this.#keys, this.#values, this.length, this.#shape), i * width);
    }
    return out;
  }
}

/** The operator rotates i with i + headDim / 2, the oracle neighbours; the order within a head doesn't matter to the scores. */
function withNeighbouringPairs(x: Float32Array, headDim: number): Float32Array {
  const half = headDim / 2;
  return x.map((_, i) => {
    const inHead = i % headDim;
    return x[i - inHead + Math.floor(inHead / 2) + (inHead % 2) * half]!;
  });
}
