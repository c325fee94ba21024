/** One replica in a tab: a dedicated Web Worker of the agent's. Links, user code and health are here; the engine has a Web Worker of its own, nested in this one. */
import { webEngineThread } from "../../engine/spawn-web.ts";
import packageJson from "../../package.json" with { type: "json" };
import { ALIVE_MS } from "../../protocol/limits.ts";
import type { ReplicaOptions, Start, ToReplica } from "../../protocol/local.ts";
import { runtime } from "../../serve/runtime.ts";
import { ReplicaEngineHost } from "../replica/engine-host.ts";
import { ModelQuestions } from "../replica/model-questions.ts";
import { Replica } from "../replica/replica.ts";
import { forwardConsole } from "./console.ts";
import { openFromMesh } from "./models.ts";
import { tabReplicaPlatform } from "./replica-platform.ts";
import type { FromReplicaWorker } from "./replica-worker.ts";
import { installRuntime } from "./runtime-modules.ts";

/** The part of a worker's global scope that is used: the DOM library's types are for pages. */
const scope = self as unknown as Pick<Worker, "postMessage"> & {
  addEventListener(type: "message", listener: (event: MessageEvent<ToReplica | Start<ReplicaOptions>>) => void): void;
  addEventListener(type: "error", listener: (event: ErrorEvent) => void): void;
  addEventListener(type: "unhandledrejection", listener: (event: PromiseRejectionEvent) => void): void;
  close(): void;
};
const tell = (message: FromReplicaWorker): void => scope.postMessage(message);
const log = (level: "info" | "warn" | "error", text: string): void => tell({ type: "log", level, text });
const stackOf = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));

function exit(how: string): void {
  tell({ type: "exited", how });
  scope.close();
}

forwardConsole(log);
// As in a process: an error that nobody catches ends it, a promise that user code forgot doesn't.
scope.addEventListener("error", (event) => {
  event.preventDefault();
  log("error", stackOf(event.error ?? event.message));
  exit(`It crashed: ${event.message}`);
});
scope.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  log("error", `Unhandled rejection: ${stackOf(event.reason)}`);
});

function run(options: ReplicaOptions): (message: ToReplica) => void {
  installRuntime();
  const platform = tabReplicaPlatform(log);
  const replica = new Replica({ platform, options, build: packageJson.version, tell });

  const models = new ModelQuestions(tell);
  const engines = new ReplicaEngineHost({
    options,
    available: async (gpu) => [...(gpu ? (["webgpu"] as const) : []), "wasm"],
    locate: (name, provider) => models.locate(name, provider),
    open: (model, provider, slotLength) =>
      openFromMesh(model, provider, slotLength, (doing) => replica.progress(`model: ${doing}`)),
    spawn: () =>
      webEngineThread(new Worker(new URL("engine.js", self.location.href), { type: "module", name: "engine" })),
    after: platform.after,
    onProgress: (text) => replica.progress(text),
    onLoaded: (slots) => replica.limitFromEngine(slots),
    onDead: (reason) => {
      // Nothing that is asked of it will be answered: the agent starts a new replica.
      replica.unhealthy(`The engine is gone: ${reason}.`);
      exit(`The engine is gone: ${reason}.`);
    },
    log,
  });
  runtime().engine = engines;

  async function stop(timeoutMs: number): Promise<void> {
    await replica.stop(timeoutMs);
    await engines.close();
    exit("It was stopped.");
  }

  setInterval(() => tell({ type: "alive", ongoing: replica.ongoing, engines: engines.reports }), ALIVE_MS);
  void replica.start().then((ready) => {
    if (ready) return tell({ type: "ready", result: null });
    tell({ type: "failed", exit: 1, message: replica.failure });
    exit(replica.failure);
  });
  return (message) => {
    if (message.type === "model") models.answered(message);
    else if (message.type === "stop") void stop(message.timeoutMs);
    else replica.receive(message);
  };
}

let receive: ((message: ToReplica) => void) | undefined;
scope.addEventListener("message", ({ data: message }) => {
  if (message.type === "start") receive = run(message.options);
  else receive?.(message);
});
