/** Multiplies by n-bit weights on a GPU as a model does, and compares with plain arithmetic. */
import { sourceOfBytes } from "../gguf/source.ts";
import { GraphBuilder } from "../onnx/graph.ts";
import { readGraph } from "../onnx/read-graph.ts";
import { prf } from "../prf.ts";
import type { GpuRuntime } from "./ort-webgpu.ts";
import type { Check } from "./self-test.ts";

/** Rows of one run: decoding, a batch, a prompt. Kernels change below 4 rows, and beyond 32. */
const ROWS = [1, 4, 33];
/** Columns of the weights, which many more of would only take time; how the real number divides is kept, because kernels go by it. */
const COLUMNS = 256;
const COLUMNS_DIVIDE = 64;
/**
 * A part of the results' root mean square. Inputs are rounded to 8 bits (accuracy level 4): that errs by 0.004, and by 0.02 at most among some
 * thousand results. A block of weights gone wrong among a hundred errs by 0.1.
 */
const TOLERANCE = 0.05;

/** MatMulNBits, by its attributes. */
export interface Multiplication {
  readonly bits: number;
  /** Inputs, and columns of the weights. */
  readonly K: number;
  readonly N: number;
  readonly blockSize: number;
  readonly accuracyLevel: number;
}

/** Those that a graph has. */
export async function multiplicationsOf(graph: Uint8Array): Promise<readonly Multiplication[]> {
  const { nodes } = await readGraph(sourceOfBytes(graph));
  return nodes
    .filter(({ kind }) => kind === "MatMulNBits")
    .map(({ numbers }) => {
      const number = (name: string): number => numbers.get(name) ?? 0;
      return {
        bits: number("bits"),
        K: number("K"),
        N: number("N"),
        blockSize: number("block_size"),
        accuracyLevel: number("accuracy_level"),
      };
    });
}

export async function checkMultiplication(gpu: GpuRuntime, multiplication: Multiplication): Promise<Check> {
  const { bits, K, blockSize } = multiplication;
  const N = multiplication.N <= 2 * COLUMNS ? multiplication.N : COLUMNS + (multiplication.N % COLUMNS_DIVIDE);
  // Without a pattern that inputs could share; 0 bits are the most negative weight.
  const quants = Uint8Array.from({ length: (K * N * bits) / 8 }, (_, i) => Math.imul(i + 1, 0x9e37_79b1) >>> 24);
  const scales = Float32Array.from({ length: (K * N) / blockSize }, (_, i) => (0.5 + prf(1, i)) / 2 ** (bits - 1));
  const session = await gpu.createSession(graphOf({ ...multiplication, N }, quants, scales), undefined, []);
  let [worst, squares, count] = [0, 0, 0];
  try {
    for (const rows of ROWS) {
      const x = Float32Array.from({ length: rows * K }, (_, i) => 2 * prf(2, i) - 1);
      const outputs = await session.run({ x: gpu.float32(x, [1, rows, K]) }, { y: null });
      const actual = (await outputs["y"]!.getData()) as Float32Array;
      outputs["y"]!.dispose();
      for (let column = 0; column < N; column++) {
        const weights = weightsOf(quants, scales, column, multiplication);
        for (let row = 0; row < rows; row++) {
          const expected = weights.reduce((sum, weight, k) => sum + weight * x[row * K + k]!, 0);
          // NaN stays NaN.
          worst = Math.max(worst, Math.abs(actual[row * N + column]! - expected));
          squares += expected ** 2;
          count++;
        }
      }
    }
  } finally {
    await session.release();
  }
  return {
    what: `multiplication by ${bits}-bit weights`,
    error: worst / Math.sqrt(squares / count),
    tolerance: TOLERANCE,
  };
}

function weightsOf(
  quants: Uint8Array,
  scales: Float32Array,
  column: number,
  { bits, K, blockSize }: Multiplication,
): Float64Array {
  return Float64Array.from({ length: K }, (_, k) => {
    const at = column * K + k;
    // Of two in a byte the lower bits come first.
    const quant = bits === 8 ? quants[at]! : (quants[at >> 1]! >> (4 * (at & 1))) & 15;
    return (quant - 2 ** (bits - 1)) * scales[Math.floor(at / blockSize)]!;
  });
}

function graphOf(
  { bits, K, N, blockSize, accuracyLevel }: Multiplication,
  quants: Uint8Array,
  scales: Float32Array,
): Uint8Array {
  const graph = new GraphBuilder();
  const blocks = K / blockSize;
  graph.input("x", "float32", ["batch", "rows", K]);
  graph.contrib(
    "MatMulNBits",
    [
      "x",
      graph.constant("quants", "uint8", [N, blocks, (blockSize * bits) / 8], quants),
      graph.constant("scales", "float32", [N, blocks], scales),
    ],
    ["y"],
    { K, N, bits, block_size: blockSize, accuracy_level: accuracyLevel },
  );
  graph.output("y", "float32", ["batch", "rows", N]);
  return graph.finish().graph;
}
