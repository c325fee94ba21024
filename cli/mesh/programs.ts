/**
 * The programs that the command starts, as lives that a supervisor keeps: the coordinator and the worker agent, each a child process.
 * Knows where they are and how they are told to stop; their output goes into a bounded log file in the data directory.
 */
import { join } from "node:path";
import { childReady, spawnChild } from "../../protocol/node/parent.ts";
import type { AgentOptions, AgentReady, CoordinatorOptions, CoordinatorReady } from "../../protocol/local.ts";
import { LogFile } from "./log-file.ts";
import type { Life } from "./supervisor.ts";

const programs = {
  coordinator: new URL("../../coordinator/main.ts", import.meta.url),
  agent: new URL("../../worker/node/agent-main.ts", import.meta.url),
  /** The same agent in a headless browser; takes the same options. */
  browser: new URL("../../worker/browser/launcher-main.ts", import.meta.url),
} as const;

/** Last output that is shown when a program can't start, characters. */
const TAIL_SHOWN = 2_000;

/** Starts `module` as a child with these options. `name` is how its log file and messages call it. */
export function launch<Options, Ready>(module: URL, name: string, options: Options, dataDir: string): Life<Ready> {
  const child = spawnChild(module, { output: "pipe", smallHeap: true });
  const log = new LogFile(join(dataDir, "logs"), `${name}.log`);
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (bytes: Buffer) => log.write(bytes));
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code}` : signal));
  });
  let signs = 0;
  const asked = new Promise<void>((resolve) =>
    child.on("message", (message: { type?: unknown }) => {
      if (message.type === "alive") signs += 1;
      else if (message.type === "shutdown") resolve();
    }),
  );
  const send = (): void => {
    if (child.connected) child.send({ type: "stop" }, () => {});
    else child.kill("SIGTERM");
  };
  const ready = childReady<Options, Ready>(child, options).catch((error: unknown) => {
    const tail = log.tail(TAIL_SHOWN).trim();
    if (error instanceof Error && /ended before it was ready/.test(error.message) && tail !== "")
      error.message = `The ${name} could not start:\n${tail}`;
    throw error;
  });
  // A parent that goes on must not be ended by a write to a child that is gone.
  child.on("error", () => {});
  const kill = (): void => void child.kill("SIGKILL");
  return { pid: child.pid, ready, ended, asked, signs: () => signs, stop: send, kill };
}

export const launchCoordinator = (options: CoordinatorOptions): Life<CoordinatorReady> =>
  launch(programs.coordinator, "coordinator", options, options.dataDir);

export const launchAgent = (options: AgentOptions, kind: "agent" | "browser" = "agent"): Life<AgentReady> =>
  launch(programs[kind], kind === "agent" ? "worker" : "browser-worker", options, options.dataDir);
