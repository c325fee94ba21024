/** Builds the worker page in a child of the coordinator, which so needs no bundler in its own memory: {} -> { folder }. */
import type { Failed, Ready } from "../protocol/local.ts";
import { startedByParent } from "../protocol/node/parent.ts";
import { buildWorkerPage } from "./build.ts";

await startedByParent<object>();
let answer: Ready<{ folder: string }> | Failed;
try {
  answer = { type: "ready", result: { folder: await buildWorkerPage(Date.now()) } };
} catch (error) {
  answer = {
    type: "failed",
    exit: 1,
    message: `The worker page could not be built: ${error instanceof Error ? error.message : String(error)}`,
  };
}
process.send?.(answer, undefined, {}, () => process.exit(0));
