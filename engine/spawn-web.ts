/** An engine thread as a dedicated Web Worker. */
import type { EngineThread } from "./client.ts";
import type { FromEngine, ToEngine } from "./thread-messages.ts";

/** For `EngineClient.start`: `worker` runs the bundle of `thread-web-main.ts`. A Web Worker's end is not reported: the watchdog sees it. */
export function webEngineThread(worker: Worker): EngineThread {
  return {
    post: (message: ToEngine) => worker.postMessage(message),
    onMessage: (handler) => worker.addEventListener("message", (event: MessageEvent<FromEngine>) => handler(event.data)),
    onExit: (handler) => {
      worker.addEventListener("error", (event) => handler(`the engine's worker crashed: ${event.message}`), { once: true });
    },
    terminate: () => worker.terminate(),
  };
}
