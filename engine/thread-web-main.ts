/**
 * The engine's thread in a tab: a dedicated Web Worker's entry. ONNX Runtime's files `ort-wasm-simd-threaded*.{mjs,wasm}` must be served
 * in a folder `ort/` beside this script. Also beside it: `team.js`, the bundle of `team-web-main.ts`, `grammar-check.js`, that of
 * `grammar-check-web-main.ts`, and `xgrammar.js`, a copy of `@mlc-ai/web-xgrammar`.
 */
import type { FromCheck } from "./grammar/check-thread.ts";
import type { CheckThread } from "./grammar/checker.ts";
import { loadXGrammar } from "./grammar/xgrammar.ts";
import type { PreparedGraph } from "./graph-model.ts";
import type { TeamSeed, TeamThread } from "./kernels/team-thread.ts";
import { loadModel, type LoadHost } from "./load.ts";
import { probeProviders } from "./probe.ts";
import type { Gpu } from "./providers/gpu-device.ts";
import { createWasmSession, type GraphHost } from "./providers/graph-session.ts";
import { createWebgpuSession } from "./providers/graph-webgpu.ts";
import type { OrtWeb } from "./providers/ort-webgpu.ts";
import { capturePlacements } from "./providers/web-placement.ts";
import { createWasmRunner } from "./providers/wasm.ts";
import { createWebgpuRunner } from "./providers/webgpu.ts";
import type { TeamCall } from "./team-web-main.ts";
import { serveEngine } from "./thread.ts";
import type { ToEngine } from "./thread-messages.ts";

const beside = (name: string): string => new URL(`./${name}`, self.location.href).href;
const ORT_FOLDER = beside("ort/");

/** The part of a worker's global scope that is used: the DOM library's types are for pages. */
const scope = self as unknown as Pick<Worker, "postMessage" | "addEventListener"> & { close(): void };

// Before ONNX Runtime is loaded, which keeps the console's functions that it finds.
const withPlacementLog = capturePlacements(console);

const files: Pick<GraphHost, "read"> & { contentOf(graph: PreparedGraph, name: string): Uint8Array | Blob } = {
  contentOf(graph, name) {
    const content = "contents" in graph ? graph.contents[name] : undefined;
    if (content === undefined) throw new Error(`the graph came without its file ${name}`);
    return content;
  },
  async read(graph, name) {
    const content = files.contentOf(graph, name);
    return content instanceof Blob ? new Uint8Array(await content.arrayBuffer()) : content;
  },
};
// More than one thread needs shared memory, which a tab has only when isolated.
const threadsOf = (threads: number): number => (self.crossOriginIsolated ? threads : 1);

const host: LoadHost = {
  open: (reference) =>
    "model" in reference
      ? Promise.resolve(reference.model)
      : Promise.reject(new Error("a tab has no directories: give the prepared model itself")),
  providers: {
    webgpu: async (model, options) =>
      createWebgpuRunner(model, { ...options, gpu: await webGpu(), loadRuntime: loadOrtWeb, withPlacementLog }),
    wasm: (model, options) =>
      createWasmRunner(model, { ...options, startThread: self.crossOriginIsolated ? startThread : undefined }),
  },
  sessions: {
    webgpu: (graph, options) =>
      createWebgpuSession(graph, options, {
        gpu: webGpu,
        loadRuntime: loadOrtWeb,
        read: files.read,
        open: async (graph, name) => files.contentOf(graph, name),
        // The same module computes on the CPU too.
        createReference: (graph, options) =>
          createWasmSession(graph, { ...options, threads: 1 }, { loadRuntime: loadOrtWeb, read: files.read }),
        withPlacementLog,
      }),
    wasm: (graph, options) =>
      createWasmSession(
        graph,
        { ...options, threads: threadsOf(options.threads) },
        { loadRuntime: loadOrtCpu, read: files.read },
      ),
  },
};

async function webGpu(): Promise<Gpu> {
  if (!("gpu" in navigator)) throw new Error("this browser has no WebGPU");
  return navigator.gpu;
}

/** The build without a GPU. */
async function loadOrtCpu(): Promise<OrtWeb> {
  const ort = await import("onnxruntime-web/wasm");
  ort.env.wasm.wasmPaths = ORT_FOLDER;
  return ort;
}

async function loadOrtWeb(): Promise<OrtWeb> {
  // Safari and Firefox lack JSPI: the other build does the same by rewriting the code.
  const ort =
    "Suspending" in WebAssembly ? await import("onnxruntime-web/jspi") : await import("onnxruntime-web/webgpu");
  ort.env.wasm.wasmPaths = ORT_FOLDER;
  return ort;
}

function startThread(seed: TeamSeed, thread: number): TeamThread {
  const worker = new Worker(beside("team.js"), { type: "module", name: `engine-${thread}` });
  worker.postMessage({ seed, thread } satisfies TeamCall);
  return {
    onEnd: (handler) => worker.addEventListener("error", (event) => handler(event.message), { once: true }),
    terminate: async () => worker.terminate(),
  };
}

function spawnCheck(): CheckThread {
  const worker = new Worker(beside("grammar-check.js"), { type: "module", name: "grammar-check" });
  return {
    post: (message) => worker.postMessage(message),
    onMessage: (handler) => worker.addEventListener("message", (event: MessageEvent<FromCheck>) => handler(event.data)),
    onExit: (handler) => worker.addEventListener("error", (event) => handler(event.message), { once: true }),
    terminate: () => worker.terminate(),
  };
}

/** One message to ourselves: it queues behind those that already wait, and unlike a timer it is not throttled. */
function yieldTurn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

serveEngine(
  {
    post: (message) => scope.postMessage(message),
    onMessage: (handler) => scope.addEventListener("message", (event: MessageEvent<ToEngine>) => handler(event.data)),
  },
  {
    load: (spec, onProgress) => loadModel(spec, host, onProgress),
    probe: ({ allowSoftwareGpu }) =>
      probeProviders({
        allowSoftwareGpu,
        gpu: webGpu,
        wasm: async () => {},
      }),
    yieldTurn,
    now: () => performance.now(),
    grammar: {
      load: () => loadXGrammar(() => import(beside("xgrammar.js"))),
      spawnCheck,
      now: () => performance.now(),
      after: (ms, callback) => {
        const timer = setTimeout(callback, ms);
        return () => clearTimeout(timer);
      },
    },
    end: () => scope.close(),
  },
);
