import { expect, test } from "vitest";
import type { Choice } from "../../../engine/choice.ts";
import { Chooser } from "../../../engine/chooser.ts";
import { checkChoice } from "../../../engine/providers/choice-test.ts";
import { sourceOfBytes } from "../../../engine/gguf/source.ts";
import { prepareInMemory } from "../../../engine/prepare.ts";
import { multiplicationsOf } from "../../../engine/providers/multiplication-test.ts";
import type { GpuRuntime, GpuSession } from "../../../engine/providers/ort-webgpu.ts";
import { faultOf, selfTest } from "../../../engine/providers/self-test.ts";
import { loadNativeRuntime } from "../../../engine/providers/native.ts";
import type { GgufFormat } from "../../support/gguf-writer.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";

process.env["ORT_DISABLE_TELEMETRY"] = "1";
const ort = await loadNativeRuntime();

/** What one run gave, and for how many rows of how many tokens: to be distorted. */
type Distort = (values: Float32Array, rows: number, tokens: number) => void;

/** The self-test's own graphs on the CPU provider, where `distort` may play a broken kernel. */
function cpuRuntime({ attention, product }: { attention?: Distort; product?: Distort } = {}): GpuRuntime {
  const memory = new Map<GPUBuffer, Float32Array>();
  return {
    device: {} as GPUDevice,
    lost: new Promise(() => {}),
    whileThere: (work) => work,
    read: () => Promise.reject(new Error("nothing is read from here")),
    write: (buffer, values) => memory.get(buffer)!.set(values),
    async createSession(graph): Promise<GpuSession> {
      const session = await ort.InferenceSession.create(graph, { logSeverityLevel: 3 });
      return {
        async run(feeds, fetches) {
          const outputs = await session.run(feeds as never, fetches as never);
          const values = outputs["attended"] ?? outputs["y"]!;
          const distort = outputs["attended"] ? attention : product;
          distort?.(values.data as Float32Array, values.dims[0]!, values.dims[1]!);
          return outputs as never;
        },
        release: () => session.release(),
      };
    },
    float32: (values, shape) => new ort.Tensor("float32", values, shape) as never,
    int32: (values, shape) => new ort.Tensor("int32", values, shape) as never,
    int64: (values, shape) => new ort.Tensor("int64", BigInt64Array.from(Array.from(values, BigInt)), shape) as never,
    overBuffer: (buffer, shape) => {
      const size = shape.reduce((a, b) => a * b);
      return new ort.Tensor("float32", memory.get(buffer)!.subarray(0, size), shape) as never;
    },
    buffer: (byteLength) => {
      const buffer = { destroy: () => memory.delete(buffer) } as unknown as GPUBuffer;
      memory.set(buffer, new Float32Array(byteLength / 4));
      return buffer;
    },
  };
}

const shapes = [
  { heads: 4, kvHeads: 2, headDim: 16 },
  { heads: 9, kvHeads: 3, headDim: 64 },
];
const products = [4, 8].map((bits) => ({ bits, K: 576, N: 1536, blockSize: 32, accuracyLevel: 4 }));

test.each(shapes)("a provider that computes rightly passes: $heads heads of $headDim", async (shape) => {
  const checks = await selfTest(cpuRuntime(), shape, products);
  expect(checks.map(({ what }) => what)).toEqual([
    "attention",
    "attention of a batch",
    "multiplication by 4-bit weights",
    "multiplication by 8-bit weights",
  ]);
  for (const { error } of checks.slice(0, 2)) expect(error).toBeLessThan(1e-5);
  for (const { error } of checks.slice(2)) expect(error).toBeLessThan(0.03);
  expect(faultOf(checks)).toBeUndefined();
});

test("a width of weights is tried once, and only if the model has it", async () => {
  const [, eight] = products;
  const checks = await selfTest(cpuRuntime(), shapes[0]!, [eight!, { ...eight!, N: 64 }]);
  expect(checks.map(({ what }) => what).slice(2)).toEqual(["multiplication by 8-bit weights"]);
});

test("a model's graph tells which multiplications it has", async () => {
  const of = async (format: GgufFormat, target: "webgpu" | "native") => {
    const source = sourceOfBytes(makeTinyGguf({ format }).bytes);
    return multiplicationsOf((await prepareInMemory(source, { target })).graph);
  };
  expect(await of("F32", "webgpu")).toEqual([]);
  const eight = await of("Q8_0", "webgpu");
  expect(eight.length).toBeGreaterThan(7);
  for (const each of eight) expect(each).toMatchObject({ bits: 8, blockSize: 32, accuracyLevel: 4 });
  const { vocabulary, embedding } = makeTinyGguf().config;
  expect(eight.at(-1)).toMatchObject({ K: embedding, N: vocabulary });
  expect(new Set((await of("Q4_0", "native")).map(({ bits }) => bits))).toEqual(new Set([4, 8]));
});

/** What is off by a little in one place only. */
const spoil =
  (at: number, by: number, when: (rows: number, tokens: number) => boolean): Distort =>
  (values, rows, tokens) => {
    if (when(rows, tokens)) values[at]! += by;
  };

test.each<[string, Parameters<typeof cpuRuntime>[0], RegExp]>([
  ["long chunks", { attention: spoil(1000, 0.01, (_, tokens) => tokens === 64) }, /^attention is off by 0\.0/],
  ["a chunk's numbers", { attention: spoil(40, NaN, (_, tokens) => tokens === 33) }, /^attention is off by NaN/],
  ["batches of five", { attention: spoil(70, 0.01, (rows) => rows === 5) }, /^attention of a batch is off by 0\.01/],
  ["a batch's numbers", { attention: spoil(470, NaN, (rows) => rows === 8) }, /^attention of a batch is off by NaN/],
  [
    "products of many rows",
    { product: spoil(300, 1, (_, tokens) => tokens === 33) },
    /^multiplication by 4-bit .* is off/,
  ],
  ["products of one row", { product: spoil(9, NaN, (_, tokens) => tokens === 1) }, /^multiplication by 4-bit .* NaN/],
])("one that errs in %s fails, and is told so", async (_, broken, fault) => {
  const [shape] = shapes;
  expect(faultOf(await selfTest(cpuRuntime(broken), shape!, products.slice(0, 1)))).toMatch(fault);
});

test.each([512, 1003])("who chooses as the host does passes, who doesn't fails: %d tokens", async (vocabulary) => {
  let logits = new Float32Array(0);
  const twin = new Chooser(vocabulary);
  const check = (distort: (choice: Choice, row: number) => Choice) =>
    checkChoice(
      { write: (_, values) => void (logits = values) },
      {
        logits: () => ({}) as GPUBuffer,
        choose: async (draws) =>
          draws.map((draw, row) =>
            distort(twin.choose(logits.subarray(row * vocabulary, (row + 1) * vocabulary), draw!), row),
          ),
      },
      vocabulary,
    );
  const [tokens, right] = [[] as number[], await check((choice) => choice)];
  expect(right).toMatchObject({ what: "the choice of tokens", error: 0 });
  await check((choice) => (tokens.push(choice.token), choice));
  // Neither all the best nor all the same.
  expect(new Set(tokens).size).toBe(3);
  for (let wrong = 0; wrong < 3; wrong++) {
    const off = await check((choice, row) => (row === wrong ? { ...choice, ...other(choice) } : choice));
    expect(faultOf([off])).toBe("the choice of tokens is off by Infinity");
  }
  const drifted = await check(({ token, logprob }) =>
    logprob ? { token, logprob: { ...logprob, logprob: logprob.logprob + 0.001 } } : { token },
  );
  expect(faultOf([drifted])).toMatch(/^the choice of tokens is off by 0\.0010/);
});

/** The same with another token. */
const other = ({ token, logprob }: Choice): Choice => ({
  token: token + 1,
  ...(logprob && { logprob: { ...logprob, token: token + 1 } }),
});
