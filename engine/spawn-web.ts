/** An engine thread as a dedicated Web Worker. */
import type { EngineThread } from "./client.ts";
import type { FromEngine, ToEngine } from "./thread-messages.ts";

/**
 * For `EngineClient.start`: `worker` runs the bundle of `thread-web-main.ts`. A Web Worker's end is not reported: the watchdog sees it.
 * The weights of a model that is loaded move into the thread, so that there is no second copy: the caller's array is empty afterwards.
 */
export function webEngineThread(worker: Worker): EngineThread {
  return {
    post: (message: ToEngine) => worker.postMessage(message, weightsOf(message)),
    onMessage: (handler) =>
      worker.addEventListener("message", (event: MessageEvent<FromEngine>) => handler(event.data)),
    onExit: (handler) => {
      worker.addEventListener("error", (event) => handler(`the engine's worker crashed: ${event.message}`), {
        once: true,
      });
    },
    terminate: () => worker.terminate(),
  };
}

function weightsOf(message: ToEngine): ArrayBuffer[] {
  if (message.type !== "load") return [];
  const models = Object.values(message.spec.prepared).flatMap((reference) =>
    "model" in reference ? [reference.model] : [],
  );
  const parts = models.flatMap((model): unknown[] => {
    if ("weights" in model) return [model.weights];
    return "contents" in model ? Object.values(model.contents) : [];
  });
  return parts.flatMap((bytes) =>
    bytes instanceof Uint8Array && bytes.buffer instanceof ArrayBuffer ? [bytes.buffer] : [],
  );
}
