/** One replica as a child process: its environment, its permissions, its log, its end. */
import { mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Failed, FromReplica, ReplicaOptions, Start, ToReplica } from "../../protocol/local.ts";
import { spawnChild } from "../../protocol/node/parent.ts";
import type { Child, ChildEvents } from "../agent/platform.ts";
import { killGroup, onEnd } from "./child-end.ts";
import { LAST_WORDS_MAX } from "./limits.ts";
import type { LogFolder } from "./log-folder.ts";
import { permissionFlags, replicaEnvironment } from "./replica-environment.ts";

export interface ReplicaPlace {
  /** Program of the replica; a test's fake. */
  readonly program: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Folders that it reads. */
  readonly read: readonly string[];
  /** Folder of its own, made here and deleted at its end. */
  readonly scratch: string;
  readonly compileCache: string;
  readonly logs: LogFolder;
}

export const REPLICA_PROGRAM = fileURLToPath(new URL("./replica-main.ts", import.meta.url));
/** Skein itself with its packages. */
const ROOT = fileURLToPath(new URL("../../", import.meta.url));

export function startReplicaProcess(
  options: ReplicaOptions,
  events: ChildEvents<FromReplica>,
  place: ReplicaPlace,
): Child<ToReplica> {
  const { replica, envVars } = options.spec;
  mkdirSync(place.scratch, { recursive: true, mode: 0o700 });
  const log = place.logs.open(replica);
  const child = spawnChild(place.program, {
    output: "pipe",
    userCode: true,
    cwd: place.scratch,
    env: replicaEnvironment(place.environment, envVars, place),
    // Flags that make Node's own warning about the permission flags go away, and the one about --allow-net.
    execArgv: [
      ...permissionFlags({ program: ROOT, read: place.read, scratch: place.scratch, compileCache: place.compileCache }),
      "--disable-warning=SecurityWarning",
      "--disable-warning=ExperimentalWarning",
    ],
  });
  let lastWords = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => log.write("out", text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    lastWords = (lastWords + text).slice(-LAST_WORDS_MAX);
    log.write("err", text);
  });
  child.on("message", (message: FromReplica | Failed | { readonly type: "ready" }) => {
    if (message.type === "log") log.line(message.level, message.text);
    else if (message.type === "failed") {
      events.onMessage({
        type: "status",
        state: "failed",
        error: message.message,
        userConfigVersion: options.spec.userConfigVersion,
        ongoing: 0,
      });
    } else if (message.type !== "ready") events.onMessage(message);
  });
  onEnd(
    child,
    () => lastWords,
    (how) => {
      log.line("skein", how.split("\n")[0] ?? how);
      place.logs.close(replica);
      rmSync(place.scratch, { recursive: true, force: true });
      events.onExit(how);
    },
  );
  child.send({ type: "start", options } satisfies Start<ReplicaOptions>, noted);
  return {
    pid: child.pid ?? null,
    tell: (message) => void (child.connected && child.send(message, noted)),
    kill: () => killGroup(child),
  };
}

/** A message to a child that is ending: its exit says all there is to say. */
const noted = (): void => {};
