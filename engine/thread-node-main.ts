/** The engine's thread in Node: all three providers, models from directories, a port to the thread that started this one. */
import { openAsBlob } from "node:fs";
import { join } from "node:path";
import { parentPort } from "node:worker_threads";
import { loadModel, type LoadHost } from "./load.ts";
import { nodeGrammarHost } from "./node/grammar-host.ts";
import { openAnyPrepared } from "./node/prepared-cache.ts";
import { startNodeThread } from "./node/team-threads.ts";
import { WEIGHTS_FILE } from "./onnx/graph.ts";
import { probeProviders } from "./probe.ts";
import { createNativeSession, createNodeWasmSession, createNodeWebgpuSession } from "./providers/graph-node.ts";
import { createNativeRunner, loadNativeRuntime } from "./providers/native.ts";
import { nodeGpu } from "./providers/node-gpu.ts";
import { withPlacementLog } from "./providers/node-placement.ts";
import { createWasmRunner } from "./providers/wasm.ts";
import { createWebgpuRunner } from "./providers/webgpu.ts";
import { serveEngine } from "./thread.ts";

if (parentPort === null) throw new Error("thread-node-main runs as a worker thread: start it with spawnNodeEngine");
const port = parentPort;

// The thread shares the process's environment, so that this is in place before the add-on loads.
process.env["ORT_DISABLE_TELEMETRY"] = "1";

const host: LoadHost = {
  open: (reference) =>
    "directory" in reference ? openAnyPrepared(reference.directory) : Promise.resolve(reference.model),
  providers: {
    webgpu: async (model, options) => {
      const { directory } = model;
      const openWeights = directory === undefined ? undefined : () => openAsBlob(join(directory, WEIGHTS_FILE));
      return createWebgpuRunner(model, { ...options, gpu: await nodeGpu(), openWeights, withPlacementLog });
    },
    native: createNativeRunner,
    wasm: (model, options) => createWasmRunner(model, { ...options, startThread: startNodeThread }),
  },
  sessions: { webgpu: createNodeWebgpuSession, native: createNativeSession, wasm: createNodeWasmSession },
};

serveEngine(
  { post: (message) => port.postMessage(message), onMessage: (handler) => port.on("message", handler) },
  {
    load: (spec, onProgress) => loadModel(spec, host, onProgress),
    probe: ({ allowSoftwareGpu }) =>
      probeProviders({
        allowSoftwareGpu,
        gpu: nodeGpu,
        native: async () => void (await loadNativeRuntime()),
        wasm: async () => {},
      }),
    yieldTurn: () => new Promise((resolve) => setImmediate(resolve)),
    now: () => performance.now(),
    grammar: nodeGrammarHost,
    // Ends this thread alone. Dawn would keep it alive.
    end: () => process.exit(),
  },
);
