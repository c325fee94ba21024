/** Grammars in Node: the package itself, and checks in a worker thread. */
import { Worker } from "node:worker_threads";
import type { FromCheck } from "../grammar/check-thread.ts";
import type { CheckThread } from "../grammar/checker.ts";
import type { GrammarHost } from "../grammar/grammars.ts";
import { loadXGrammar } from "../grammar/xgrammar.ts";

/** The entry in the folder above: TypeScript in the repository, JavaScript once built. */
const ENTRY = new URL(
  import.meta.url.endsWith(".ts") ? "../grammar-check-node-main.ts" : "../grammar-check-node-main.js",
  import.meta.url,
);

export const nodeGrammarHost: GrammarHost = {
  load: () => loadXGrammar(() => import("@mlc-ai/web-xgrammar")),
  spawnCheck,
  now: () => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1000;
  },
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

function spawnCheck(): CheckThread {
  const worker = new Worker(ENTRY, { name: "grammar-check" });
  // The engine's thread ends without it.
  worker.unref();
  let failure = "it ended";
  worker.on("error", (error) => (failure = error instanceof Error ? error.message : String(error)));
  return {
    post: (message) => worker.postMessage(message),
    onMessage: (handler) => worker.on("message", (message: FromCheck) => handler(message)),
    onExit: (handler) => worker.once("exit", () => handler(failure)),
    terminate: () => void worker.terminate(),
  };
}
