/** Threads of the `wasm` provider in Node. */
import { Worker } from "node:worker_threads";
import type { StartTeamThread } from "../kernels/team-thread.ts";

const ENTRY = new URL("../team-node-main.ts", import.meta.url);

export const startNodeThread: StartTeamThread = (seed, thread) => {
  const worker = new Worker(ENTRY, { name: `engine-${thread}`, workerData: { seed, thread } });
  // The engine's thread ends without it, and it with the engine's thread.
  worker.unref();
  let failure: string | undefined;
  let isTold = false;
  worker.on("error", (error) => (failure = error instanceof Error ? error.message : String(error)));
  return {
    onEnd: (handler) =>
      worker.once("exit", (code) => {
        if (!isTold) handler(failure ?? `it exited with code ${code}`);
      }),
    async terminate() {
      isTold = true;
      await worker.terminate();
    },
  };
};
