/** The process of one replica: started by the agent, told what to do over IPC, its output is the replica's log. */
import { flushCompileCache } from "node:module";
import { spawnNodeEngine } from "../../engine/spawn-node.ts";
import packageJson from "../../package.json" with { type: "json" };
import { ALIVE_MS } from "../../protocol/limits.ts";
import type { Failed, FromReplica, Ready, ReplicaOptions, ToReplica } from "../../protocol/local.ts";
import { startedByParent, tellParent } from "../../protocol/node/parent.ts";
import { runtime } from "../../serve/runtime.ts";
import { ReplicaEngineHost } from "../replica/engine-host.ts";
import { ModelQuestions } from "../replica/model-questions.ts";
import { Replica } from "../replica/replica.ts";
import { seal } from "./replica-environment.ts";
import { nodeReplicaPlatform } from "./replica-platform.ts";
import { installRuntime } from "./runtime-modules.ts";

const tell = (message: FromReplica): void => tellParent(message);
const log = (level: "info" | "warn" | "error", text: string): void => tell({ type: "log", level, text });

// Messages that come right behind `start` wait for the replica.
let receive: (message: ToReplica) => void = (message) => void early.push(message);
const early: ToReplica[] = [];
process.on(
  "message",
  (message: ToReplica | { readonly type: "start" }) => void (message.type !== "start" && receive(message)),
);

// A promise that user code forgot must not take the requests of others with it.
process.on("unhandledRejection", (reason) =>
  log("error", `Unhandled rejection: ${reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)}`),
);

// Everything of ours is loaded; from here on the process may do no more than user code may.
seal(process.env["NODE_COMPILE_CACHE"], flushCompileCache, process.permission);
const options = await startedByParent<ReplicaOptions>();
process.setSourceMapsEnabled(true);
installRuntime();

const platform = nodeReplicaPlatform(log);
const replica = new Replica({ platform, options, build: packageJson.version, tell });

const models = new ModelQuestions(tell);
const engines = new ReplicaEngineHost({
  options,
  available: async (gpu) => [
    ...(gpu ? (["webgpu"] as const) : []),
    ...(hasNative() ? (["native"] as const) : []),
    "wasm",
  ],
  locate: (name, provider, slotLength) => models.locate(name, provider, slotLength),
  open: async (model) => {
    if (model.kind !== "prepared") throw new Error("a replica in Node needs a prepared model");
    return { directory: model.directory };
  },
  spawn: () => spawnNodeEngine(),
  freeMemory: () => process.availableMemory(),
  after: platform.after,
  onProgress: (text) => replica.progress(text),
  onLoaded: (slots) => replica.limitFromEngine(slots),
  onDead: (reason) => {
    // Nothing that is asked of it will be answered: the agent starts a new replica.
    replica.unhealthy(`The engine is gone: ${reason}.`);
    console.error(`The engine is gone: ${reason}.`);
    setTimeout(() => process.exit(1), 50);
  },
  log,
});
runtime().engine = engines;

receive = (message) => {
  if (message.type === "model") models.answered(message);
  else if (message.type === "stop") void stop(message.timeoutMs);
  else replica.receive(message);
};
setInterval(() => tell({ type: "alive", ongoing: replica.ongoing, engines: engines.reports }), ALIVE_MS);

const started = replica.start();
// After start has taken the options: what came behind them is newer.
for (const message of early.splice(0)) receive(message);
if (await started) tellParent({ type: "ready", result: null } satisfies Ready<null>);
else {
  tellParent({ type: "failed", exit: 1, message: replica.failure } satisfies Failed);
  // The pipes must drain before the process goes.
  setTimeout(() => process.exit(1), 100);
}

async function stop(timeoutMs: number): Promise<void> {
  await replica.stop(timeoutMs);
  await engines.close();
  process.exit(0);
}

function hasNative(): boolean {
  try {
    return import.meta.resolve("onnxruntime-node") !== "";
  } catch {
    return false;
  }
}
