/** An engine thread as a Node worker_thread. */
import { SHARE_ENV, Worker } from "node:worker_threads";
import type { EngineThread } from "./client.ts";
import type { FromEngine, ToEngine } from "./thread-messages.ts";

/** The entry beside this file: TypeScript in the repository, JavaScript once built. */
const ENTRY = new URL(
  import.meta.url.endsWith(".ts") ? "./thread-node-main.ts" : "./thread-node-main.js",
  import.meta.url,
);

/** For `EngineClient.start`: each call starts one thread. `entry` is for tests. */
export function spawnNodeEngine(entry: URL = ENTRY): EngineThread {
  // Native libraries read the process's environment, not a thread's copy.
  const worker = new Worker(entry, { env: SHARE_ENV, name: "engine" });
  let failure: string | undefined;
  worker.on("error", (error) => {
    failure = error instanceof Error ? error.message : String(error);
  });
  return {
    post: (message: ToEngine) => worker.postMessage(message),
    onMessage: (handler) => worker.on("message", (message: FromEngine) => handler(message)),
    onExit: (handler) =>
      worker.once("exit", (code) =>
        handler(
          failure === undefined
            ? `the engine's thread ended with code ${code}`
            : `the engine's thread crashed: ${failure}`,
        ),
      ),
    terminate: () => void worker.terminate(),
  };
}
