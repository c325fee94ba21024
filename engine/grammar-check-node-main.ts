/** A thread that tries grammars, in Node; the engine's thread starts it. */
import { parentPort } from "node:worker_threads";
import { serveChecks } from "./grammar/check-thread.ts";
import { loadXGrammar } from "./grammar/xgrammar.ts";

if (parentPort === null) throw new Error("grammar-check-node-main runs as a worker thread of the engine's");
const port = parentPort;

serveChecks(
  { post: (message) => port.postMessage(message), onMessage: (handler) => port.on("message", handler) },
  () => loadXGrammar(() => import("@mlc-ai/web-xgrammar")),
  console,
);
