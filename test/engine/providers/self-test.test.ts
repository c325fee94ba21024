import { expect, test } from "vitest";
import type { GpuRuntime, GpuSession } from "../../../engine/providers/ort-webgpu.ts";
import { selfTest } from "../../../engine/providers/self-test.ts";
import { loadNativeRuntime } from "../../../engine/providers/native.ts";

process.env["ORT_DISABLE_TELEMETRY"] = "1";
const ort = await loadNativeRuntime();

/** The self-test's own graph on the CPU provider, where `distort` may play a broken kernel. */
function cpuRuntime(distort: (values: Float32Array, tokens: number) => void = () => {}): GpuRuntime {
  const memory = new Map<GPUBuffer, Float32Array>();
  return {
    device: {} as GPUDevice,
    lost: new Promise(() => {}),
    whileThere: (work) => work,
    read: () => Promise.reject(new Error("nothing is read from here")),
    async createSession(graph): Promise<GpuSession> {
      const session = await ort.InferenceSession.create(graph, { logSeverityLevel: 3 });
      return {
        async run(feeds, fetches) {
          const outputs = await session.run(feeds as never, { ...fetches, attended: null } as never);
          const attended = outputs["attended"]!;
          distort(attended.data as Float32Array, attended.dims[1]!);
          return outputs as never;
        },
        release: () => session.release(),
      };
    },
    float32: (values, shape) => new ort.Tensor("float32", values, shape) as never,
    int32: (values, shape) => new ort.Tensor("int32", values, shape) as never,
    int64: (values, shape) => new ort.Tensor("int64", BigInt64Array.from(Array.from(values, BigInt)), shape) as never,
    overBuffer: (buffer, shape) => new ort.Tensor("float32", memory.get(buffer)!, shape) as never,
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

test.each(shapes)("a provider that computes rightly passes: $heads heads of $headDim", async (shape) => {
  const result = await selfTest(cpuRuntime(), shape);
  expect(result.isExact).toBe(true);
  expect(result.worstError).toBeLessThan(1e-5);
});

test("one that errs in long chunks only, in decoding only, or gives NaN, fails", async () => {
  const [shape] = shapes;
  const broken: ((values: Float32Array, tokens: number) => void)[] = [
    (values, tokens) => tokens === 64 && (values[1000] = values[1000]! + 0.01),
    (values, tokens) => tokens === 1 && (values[3] = values[3]! - 0.01),
    (values, tokens) => tokens === 33 && values.fill(NaN, 40, 41),
  ];
  for (const distort of broken) expect((await selfTest(cpuRuntime(distort), shape!)).isExact).toBe(false);
});
