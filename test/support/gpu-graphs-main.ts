/**
 * A child process for tests: the tiny encoder and a graph that WebGPU has no kernel for, behind real engine threads on whatever adapter the
 * environment gives (SwiftShader). Prints one JSON line. argv: cache directory, folder of the encoder, the other graph's file.
 */
import type { Shapes } from "../../engine/graph-sample.ts";
import { EngineClient } from "../../engine/client.ts";
import { prepareCached } from "../../engine/node/prepared-cache.ts";
import { sourceOfBytes } from "../../engine/gguf/source.ts";
import { concat } from "../../engine/onnx/protobuf.ts";
import { prepareInMemory } from "../../engine/prepare.ts";
import { nodeGpu } from "../../engine/providers/node-gpu.ts";
import { withPlacementLog } from "../../engine/providers/node-placement.ts";
import { createWebgpuRunner } from "../../engine/providers/webgpu.ts";
import { spawnNodeEngine } from "../../engine/spawn-node.ts";
import type { LoadedGraph } from "../../engine/thread-messages.ts";
import { makeTinyGguf } from "./tiny-gguf.ts";
import { determinantGraph } from "./tiny-onnx.ts";

export interface GpuGraphs {
  readonly vectors: readonly (readonly number[])[];
  readonly encoderOnCpu: readonly string[];
  readonly determinant: readonly number[];
  readonly determinantOnCpu: readonly string[];
  /** What is said of a decoder with that graph in it. */
  readonly decoder: string;
}

async function open(cache: string, file: string, warmUp: readonly Shapes[] = []) {
  const directory = await prepareCached({ file, target: "webgpu", cache, now: Date.now() });
  const client = await EngineClient.start({ spawn: spawnNodeEngine, after: () => () => {} });
  const loaded = (await client.open({
    prepared: { webgpu: { directory } },
    provider: "webgpu",
    threads: 1,
    slots: 1,
    slotLength: 2,
    allowSoftwareGpu: true,
    warmUp,
  })) as LoadedGraph;
  return { client, loaded };
}

async function main([cache, encoderFolder, graphFile]: readonly string[]): Promise<GpuGraphs> {
  const encoder = await open(cache!, encoderFolder!);
  const { vectors } = await encoder.client.embed(["the river", "A stone, a mesh.", "a"]);
  await encoder.client.close();
  const graph = await open(cache!, graphFile!, [{ x: [3, 2, 2] }]);
  const x = { type: "float32", dims: [1, 2, 2], data: Float32Array.of(1, 2, 3, 4) } as const;
  const { y } = await graph.client.run({ x });
  await graph.client.close();
  const prepared = await prepareInMemory(sourceOfBytes(makeTinyGguf().bytes), { target: "webgpu" });
  // Messages one after another are one message with the parts of both.
  const mixed = { ...prepared, graph: concat([prepared.graph, determinantGraph()]) };
  const decoder = await createWebgpuRunner(mixed, {
    threads: 1,
    slots: 1,
    slotLength: 64,
    gpu: await nodeGpu(),
    allowSoftwareGpu: true,
    withPlacementLog,
  }).then(
    () => "was taken",
    (error: unknown) => String(error),
  );
  return {
    decoder,
    vectors: vectors.map((vector) => [...vector]),
    encoderOnCpu: encoder.loaded.cpuNodes,
    determinant: [...(y!.data as Float32Array)],
    determinantOnCpu: graph.loaded.cpuNodes,
  };
}

if (import.meta.main) {
  const run = JSON.stringify(await main(process.argv.slice(2)));
  // Dawn would keep the process alive.
  process.stdout.write(`${run}\n`, () => process.exit(0));
}
