/**
 * The engine's thread in a tab: a dedicated Web Worker's entry. The page's bundler must make ONNX Runtime's files reachable: it sets
 * `globalThis.SKEIN_ORT_BASE` to the URL of the folder with `ort-wasm-simd-threaded*.{mjs,wasm}`, or leaves them beside the bundle.
 */
import { loadModel, type LoadHost } from "./load.ts";
import { probeProviders } from "./probe.ts";
import { createWasmRunner } from "./providers/wasm.ts";
import { createWebgpuRunner } from "./providers/webgpu.ts";
import { serveEngine } from "./thread.ts";
import type { ToEngine } from "./thread-messages.ts";

declare const globalThis: { SKEIN_ORT_BASE?: string; crossOriginIsolated?: boolean };

/** The part of a worker's global scope that is used: the DOM library's types are for pages. */
const scope = self as unknown as Pick<Worker, "postMessage" | "addEventListener"> & { close(): void };

const host: LoadHost = {
  open: (reference) =>
    "model" in reference
      ? Promise.resolve(reference.model)
      : Promise.reject(new Error("a tab has no directories: give the prepared model itself")),
  providers: {
    webgpu: async (model, options) => {
      if (!("gpu" in navigator)) throw new Error("this browser has no WebGPU");
      return createWebgpuRunner(model, { ...options, gpu: navigator.gpu, loadRuntime: loadOrtWeb });
    },
    wasm: (model, options) => createWasmRunner(model, { ...options, threads: globalThis.crossOriginIsolated ? options.threads : 1 }),
  },
};

async function loadOrtWeb(): Promise<typeof import("onnxruntime-web/jspi")> {
  // Safari and Firefox lack JSPI: the other build does the same by rewriting the code.
  const ort = "Suspending" in WebAssembly ? await import("onnxruntime-web/jspi") : await import("onnxruntime-web/webgpu");
  if (globalThis.SKEIN_ORT_BASE !== undefined) ort.env.wasm.wasmPaths = globalThis.SKEIN_ORT_BASE;
  return ort;
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
        gpu: async () => {
          if (!("gpu" in navigator)) throw new Error("this browser has no WebGPU");
          return navigator.gpu;
        },
        wasm: async () => {},
      }),
    yieldTurn,
    end: () => scope.close(),
  },
);
