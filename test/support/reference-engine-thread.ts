/**
 * An engine thread whose model is the f32 oracle on the tiny random checkpoint, for tests of what lies around the model.
 * `slots` and `slotLength` come from the spec; `threads` 99 makes the thread hang at the first step, 98 makes it crash.
 */
import { parentPort } from "node:worker_threads";
import { nodeGrammarHost } from "../../engine/node/grammar-host.ts";
import { createReferenceRunner } from "../../engine/reference/decoder.ts";
import { type EnginePlatform, serveEngine } from "../../engine/thread.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import { makeTinyGguf } from "./tiny-gguf.ts";

export const HANGING_THREADS = 99;
export const CRASHING_THREADS = 98;

/** The platform of the oracle. `end` ends the thread. */
export function referencePlatform(end: () => void): EnginePlatform {
  const { config, weights, tokenizerMetadata } = makeTinyGguf();
  return {
    load: async (spec, onProgress) => {
      onProgress({ stage: "session (reference)" });
      if (spec.slots > 64) throw new Error("too many slots for this machine");
      const runner = createReferenceRunner(config, weights, spec);
      const misbehave = (): void => {
        if (spec.threads === CRASHING_THREADS)
          setImmediate(() =>
            process.nextTick(() => {
              throw new Error("segmentation fault, so to speak");
            }),
          );
        if (spec.threads === HANGING_THREADS) for (;;);
      };
      const prefill: typeof runner.prefill = (...call) => (misbehave(), runner.prefill(...call));
      const decode: typeof runner.decode = (...call) => (misbehave(), runner.decode(...call));
      const tokenizer = Tokenizer.fromGguf(tokenizerMetadata);
      return { runner: { ...runner, prefill, decode }, tokenizer, notes: ["oracle"] };
    },
    probe: async () => ({ providers: [], gpu: undefined, reasons: { webgpu: "the oracle has none" } }),
    yieldTurn: () => new Promise((resolve) => setImmediate(resolve)),
    now: () => performance.now(),
    grammar: nodeGrammarHost,
    end,
  };
}

if (parentPort) {
  const port = parentPort;
  serveEngine(
    { post: (message) => port.postMessage(message), onMessage: (handler) => port.on("message", handler) },
    referencePlatform(() => port.close()),
  );
}
