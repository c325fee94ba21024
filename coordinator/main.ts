/** The coordinator as a process: started by the command, told to stop by it. The only place here that has a clock, chance and a terminal. */
import { fileURLToPath } from "node:url";
import pino from "pino";
import { SkeinError } from "../protocol/errors.ts";
import type {
  CoordinatorOptions,
  CoordinatorReady,
  Failed,
  FoundModel,
  LocateModel,
  ModelRefusal,
  Ready,
} from "../protocol/local.ts";
import { ownAddresses } from "../protocol/node/own-addresses.ts";
import {
  ChildFailed,
  childReady,
  spawnChild,
  startedByParent,
  tellAlive,
  tellParent,
} from "../protocol/node/parent.ts";
import { buildInChild } from "./builds.ts";
import { startCoordinator, startProblem, type Coordinator } from "./coordinator.ts";
import packageJson from "../package.json" with { type: "json" };

const BUILD_PAGE = fileURLToPath(new URL("../web/build-main.ts", import.meta.url));
const LOCATE_MODEL = fileURLToPath(new URL("../worker/node/locate-model-main.ts", import.meta.url));

const options = await startedByParent<CoordinatorOptions>();
tellAlive();
const log = pino({ name: "coordinator", level: options.logLevel }, pino.destination({ fd: 1, sync: true }));

/** Runs one of the programs that answer once and end. What it says when it fails is said on. */
async function ask<Question, Answer>(program: string, question: Question): Promise<Answer> {
  const child = spawnChild(program, { output: "inherit" });
  try {
    return await childReady<Question, Answer>(child, question);
  } catch (error) {
    throw error instanceof ChildFailed ? new SkeinError("UNAVAILABLE", error.message) : error;
  } finally {
    child.kill();
  }
}

/** Models are fetched by a child: that code is the workers'. */
const locateModel = (name: string): Promise<FoundModel | ModelRefusal> =>
  ask<LocateModel, FoundModel | ModelRefusal>(LOCATE_MODEL, { name, dataDir: options.dataDir, appDir: options.appDir });

/** Made once, however many tabs ask; again after a failure. */
let page: Promise<string> | null = null;
const pageFolder = (): Promise<string> => {
  page ??= ask<object, { folder: string }>(BUILD_PAGE, {}).then(({ folder }) => folder);
  page.catch(() => (page = null));
  return page;
};

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
    addresses: ownAddresses,
    build: buildInChild,
    locateModel,
    pageFolder,
    log: (level, message, cause) => log[level](cause === undefined ? {} : { err: cause }, message),
    shutdown: () => tellParent({ type: "shutdown" }),
  });
  tellParent({ type: "ready", result: coordinator.ready } satisfies Ready<CoordinatorReady>);
} catch (error) {
  tellParent({ type: "failed", ...startProblem(error) } satisfies Failed);
  setTimeout(() => process.exit(startProblem(error).exit), 20);
}
