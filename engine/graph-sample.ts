/**
 * What a graph is run with before it serves, so that shaders are compiled and memory is taken, and what a GPU must agree with a CPU on:
 * numbers of kernels that nobody has checked on this device may be wrong without a word. Pure but for the runs that it is given.
 */
import type { EncoderBatch } from "./embedder.ts";
import { checkFeeds } from "./feeds.ts";
import { type GraphDescription, textTaskOf } from "./graph-model.ts";
import { ONNX_LIMITS } from "./limits.ts";
import { prf } from "./prf.ts";
import { arrayOf, sizeOf, type Tensors, type TensorValue, type ValueFacts } from "./tensor.ts";
import { textRun } from "./text-run.ts";

/** Sizes of the inputs by name, or whole tensors: not every graph runs with any numbers. */
export type Shapes = Readonly<Record<string, readonly number[] | TensorValue>>;

export type GraphRun = (feeds: Tensors) => Promise<Tensors>;

/** Runs something, and gives the numbers that came, by the outputs' names. */
export type Sample = (run: GraphRun) => Promise<ReadonlyMap<string, ArrayLike<number>>>;

/** Of an output's largest number: 16-bit and 8-bit arithmetic stay within it, wrong kernels don't. */
const TOLERANCE = 0.05;
const TEXT_ROWS = 2;
const TEXT_TOKENS = 12;

/** One for each of the shapes, and one of texts where the graph takes them. Throws RangeError for shapes that the inputs don't have. */
export function samplesOf(graph: GraphDescription, shapes: readonly Shapes[]): Sample[] {
  if (shapes.length > ONNX_LIMITS.warmUps)
    throw new RangeError(`${shapes.length} shapes are to be run before; at most ${ONNX_LIMITS.warmUps} are`);
  const samples = shapes.map((shape): Sample => {
    const feeds = feedsOf(shape, graph.inputs);
    return async (run) => {
      const outputs = Object.entries(await run(feeds)).filter(([, { type }]) => type.startsWith("float"));
      return new Map(outputs.map(([name, { data }]) => [name, data as Float32Array]));
    };
  });
  const { text } = graph;
  if (text === undefined || textTaskOf(graph) === undefined) return samples;
  const batch = textBatch(text.vocabulary, Math.min(TEXT_TOKENS, text.maxTokens));
  return [...samples, async (run) => new Map([["its vectors", await textRun(graph, text, run)(batch)]])];
}

/** Throws with the output and how far it is off, unless both runs agree. */
export async function assertAgree(sample: Sample, run: GraphRun, reference: GraphRun): Promise<void> {
  const [actual, expected] = [await sample(run), await sample(reference)];
  for (const [name, wanted] of expected) {
    const given = actual.get(name);
    if (given?.length !== wanted.length)
      throw new Error(`${name} has ${given?.length ?? 0} numbers instead of ${wanted.length}`);
    let scale = 0;
    let worst = 0;
    for (let i = 0; i < wanted.length; i++) {
      const [a, b] = [given[i]!, wanted[i]!];
      if (Number.isFinite(b)) scale = Math.max(scale, Math.abs(b));
      // Infinities and what is no number must be the same.
      if (!Object.is(a, b)) worst = Math.max(worst, Number.isFinite(a - b) ? Math.abs(a - b) : Infinity);
    }
    if (worst > TOLERANCE * scale)
      throw new Error(`${name} is off by ${worst.toPrecision(2)} of ${scale.toPrecision(2)}`);
  }
}

/** Numbers between -1 and 1 as if by chance, zeros where whole ones are wanted: they may be places in a table. */
function feedsOf(shapes: Shapes, inputs: readonly ValueFacts[]): Tensors {
  const known = inputs.filter(({ name }) => shapes[name] !== undefined);
  const unknown = Object.keys(shapes).find((name) => !known.some((input) => input.name === name));
  if (unknown !== undefined) throw new RangeError(`there is no input "${unknown}" to run before`);
  const feeds = Object.fromEntries(
    known.map(({ name, type = "float32" }, seed) => {
      const given = shapes[name]!;
      return [name, "data" in given ? given : sampleTensor(type, given, seed)];
    }),
  );
  checkFeeds(feeds, inputs);
  return feeds;
}

function sampleTensor(type: TensorValue["type"], dims: readonly number[], seed: number): TensorValue {
  const size = sizeOf(dims);
  if (!(size >= 0 && size <= ONNX_LIMITS.feedBytes))
    throw new RangeError(`[${dims.join(", ")}] is no shape to run before`);
  if (type === "string") return { type, dims, data: Array<string>(size).fill("") };
  const data = new (arrayOf(type))(size);
  if (type.startsWith("float")) for (let i = 0; i < size; i++) data[i] = 2 * prf(seed, i) - 1;
  return { type, dims, data };
}

/** Two rows of ids, the second half as long. */
function textBatch(vocabulary: number, sequence: number): EncoderBatch {
  const length = TEXT_ROWS * sequence;
  const half = Math.ceil(sequence / 2);
  return {
    rows: TEXT_ROWS,
    sequence,
    ids: Int32Array.from({ length }, (_, i) => (i * 37) % vocabulary),
    mask: Float32Array.from({ length }, (_, i) => (i < sequence || i - sequence < half ? 1 : 0)),
  };
}
