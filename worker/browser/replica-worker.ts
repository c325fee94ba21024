/** One replica as a dedicated Web Worker, as its agent holds it. */
import type { Failed, FromReplica, Ready, ReplicaOptions, Start, ToReplica } from "../../protocol/local.ts";
import type { Child, ChildEvents } from "../agent/platform.ts";
import type { TabLogs } from "./tab-log.ts";

/** A worker can't be seen ending: it says so itself. */
export interface Exited {
  readonly type: "exited";
  readonly how: string;
}
export type FromReplicaWorker = FromReplica | Ready<null> | Failed | Exited;

/** `script`: URL of replica-main.ts's bundle. */
export function startReplicaWorker(
  script: string,
  options: ReplicaOptions,
  events: ChildEvents<FromReplica>,
  logs: TabLogs,
): Child<ToReplica> {
  const { replica, userConfigVersion } = options.spec;
  const worker = new Worker(script, { type: "module", name: replica });
  let over = false;
  const end = (how: string): void => {
    if (over) return;
    over = true;
    worker.terminate();
    logs.line(replica, "skein", how);
    logs.end(replica);
    events.onExit(how);
  };
  worker.onmessage = ({ data: message }: MessageEvent<FromReplicaWorker>) => {
    if (over || message.type === "ready") return;
    if (message.type === "exited") end(message.how);
    else if (message.type === "log") logs.line(replica, message.level, message.text);
    else if (message.type === "failed")
      events.onMessage({ type: "status", state: "failed", error: message.message, userConfigVersion, ongoing: 0 });
    else events.onMessage(message);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    end(`It crashed: ${event.message || "its program could not be loaded"}.`);
  };
  worker.postMessage({ type: "start", options } satisfies Start<ReplicaOptions>);
  return {
    pid: null,
    tell: (message) => {
      if (!over) worker.postMessage(message);
    },
    // What ends a child is told to its agent later, never from within the call.
    kill: () => queueMicrotask(() => end("It was ended by its worker.")),
  };
}
