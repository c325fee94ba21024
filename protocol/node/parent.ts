/**
 * How a child process and its parent agree on starting, readiness and death.
 * The parent holds the other end of a pipe (fd 4): when it dies, however, the kernel closes the pipe and the child ends.
 * A child that runs user code, which may keep its main thread, is ended from outside as well (reaper.ts).
 * Watching never blocks in a read (which a file stream does, on a thread that `process.exit` then waits for): it is a socket.
 */
import { fork, type ChildProcess } from "node:child_process";
import { Socket } from "node:net";
import { SkeinError } from "../errors.ts";
import { ALIVE_MS } from "../limits.ts";
import { PARENT_FD, type Alive, type Failed, type Ready, type Start } from "../local.ts";
import { endWithUs } from "./reaper.ts";

export interface SpawnOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly execArgv?: readonly string[];
  /** Where its output goes; `pipe` for the agent, which keeps a log per replica. */
  readonly output: "inherit" | "pipe" | "ignore";
  /** It runs user code: it ends with this process even while it computes. */
  readonly userCode?: boolean;
  /** It runs all the time and does little: a small young generation keeps 2 to 4 MB out of it. What it starts itself is free again. */
  readonly smallHeap?: boolean;
}

/** What a person gives the command in its environment. Children get what they need by message: code of others may read what processes inherit. */
const SECRETS: readonly string[] = ["SKEIN_ADMIN_TOKEN", "SKEIN_JOIN_TOKEN", "SKEIN_API_KEY"];
const withoutSecrets = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !SECRETS.includes(name)));

const SMALL_HEAP = "--max-semi-space-size=1";
const inherited = (): string[] => process.execArgv.filter((argument) => argument !== SMALL_HEAP);

/**
 * Starts `module` as a child in a process group of its own (so that a terminal's Ctrl-C reaches only the parent, which stops children in order).
 * The caller sends `start` and waits with `childReady`.
 */
export function spawnChild(module: string | URL, options: SpawnOptions): ChildProcess {
  const out = options.output;
  const child = fork(module, [], {
    stdio: ["ignore", out, out, "ipc", "pipe"],
    serialization: "advanced",
    detached: process.platform !== "win32",
    env: options.env ?? withoutSecrets(process.env),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    execArgv: [...(options.execArgv ?? inherited()), ...(options.smallHeap === true ? [SMALL_HEAP] : [])],
  });
  if (options.userCode === true) endWithUs(child);
  return child;
}

/** Sends the options and resolves with the child's result. Rejects when it says `failed` or ends first; `exit` is the exit code to use. */
export function childReady<Options, Result>(child: ChildProcess, options: Options): Promise<Result> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      child.off("message", onMessage).off("exit", onExit).off("error", onError);
    };
    const onMessage = (message: Ready<Result> | Failed | { type: string }): void => {
      if (message.type === "ready") {
        done();
        resolve((message as Ready<Result>).result);
      } else if (message.type === "failed") {
        done();
        reject(new ChildFailed((message as Failed).message, (message as Failed).exit));
      }
    };
    const onExit = (code: number | null, signal: string | null): void => {
      done();
      reject(new ChildFailed(`The process ended before it was ready (${signal ?? `exit code ${code}`}).`, 1));
    };
    const onError = (cause: Error): void => {
      done();
      reject(new SkeinError("INTERNAL", `A process could not be started: ${cause.message}`, { cause }));
    };
    child.on("message", onMessage).on("exit", onExit).on("error", onError);
    child.send({ type: "start", options } satisfies Start<Options>);
  });
}

export class ChildFailed extends Error {
  readonly exit: number;
  constructor(message: string, exit: number) {
    super(message);
    this.name = "ChildFailed";
    this.exit = exit;
  }
}

/** In a child: ignores the terminal's SIGINT (the parent stops it), ends with the parent, and resolves with the start options. */
export function startedByParent<Options>(): Promise<Options> {
  process.on("SIGINT", () => {});
  const end = (): never => process.exit(1);
  new Socket({ fd: PARENT_FD, readable: true, writable: false }).on("error", end).on("close", end).resume();
  return new Promise((resolve) => {
    const onMessage = (message: Start<Options>): void => {
      if (message.type !== "start") return;
      process.off("message", onMessage);
      resolve(message.options);
    };
    process.on("message", onMessage);
  });
}

/** In a child: tells the parent from now on that its main thread goes round. */
export function tellAlive(): void {
  const alive = { type: "alive" } satisfies Alive;
  tellParent(alive);
  setInterval(() => tellParent(alive), ALIVE_MS).unref();
}

/** In a child: answers the parent. */
export function tellParent(message: object): void {
  if (process.connected) process.send?.(message, undefined, {}, () => {});
}
