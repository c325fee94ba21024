/** The coordinator as a process: started by the command, told to stop by it. The only place here that has a clock, chance and a terminal. */
import { existsSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { fileURLToPath } from "node:url";
import pino from "pino";
import type { CoordinatorOptions, CoordinatorReady, Failed, Ready } from "../protocol/local.ts";
import { childReady, spawnChild, startedByParent, tellParent } from "../protocol/node/parent.ts";
import { buildInChild } from "./builds.ts";
import { startCoordinator, startProblem, type Coordinator } from "./coordinator.ts";
import packageJson from "../package.json" with { type: "json" };

const PAGE_FOLDER = fileURLToPath(new URL("../web/dist", import.meta.url));
const LOCATE_MODEL = fileURLToPath(new URL("../worker/node/locate-model-main.ts", import.meta.url));

const options = await startedByParent<CoordinatorOptions>(false);
const log = pino({ name: "coordinator", level: options.logLevel }, pino.destination({ fd: 1, sync: true }));

/** Models are fetched by a child: that code is the workers'. */
async function locateModel(name: string): Promise<string | null> {
  if (!existsSync(LOCATE_MODEL)) return null;
  const child = spawnChild(LOCATE_MODEL, { output: "inherit" });
  try {
    return (
      await childReady<{ name: string; dataDir: string }, { path: string | null }>(child, {
        name,
        dataDir: options.dataDir,
      })
    ).path;
  } finally {
    child.kill();
  }
}

const addresses = (): string[] =>
  Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).filter((a) => !a.internal && a.family === "IPv4").map((a) => a.address),
  );

let coordinator: Coordinator | null = null;
let stopping = false;
async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  await coordinator?.stop();
  process.exit(0);
}
process.on("SIGTERM", () => void stop());
process.on("message", (message: { type?: unknown }) => {
  if (message.type === "stop") void stop();
});

try {
  coordinator = await startCoordinator(options, {
    now: () => Date.now(),
    random: Math.random,
    pid: process.pid,
    version: packageJson.version,
    addresses,
    build: buildInChild,
    locateModel,
    pageFolder: existsSync(PAGE_FOLDER) ? PAGE_FOLDER : null,
    log: (level, message, cause) => log[level](cause === undefined ? {} : { err: cause }, message),
    shutdown: () => tellParent({ type: "shutdown" }),
  });
  tellParent({ type: "ready", result: coordinator.ready } satisfies Ready<CoordinatorReady>);
} catch (error) {
  tellParent({ type: "failed", ...startProblem(error) } satisfies Failed);
  setTimeout(() => process.exit(startProblem(error).exit), 20);
}
