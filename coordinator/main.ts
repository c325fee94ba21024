/** The coordinator as a process: started by the command, told to stop by it. The only place here that has a clock, chance and a terminal. */
import { fileURLToPath } from "node:url";
import pino from "pino";
import { SkeinError } from "../protocol/errors.ts";
import type { CoordinatorOptions, CoordinatorReady, Failed, LocateModel, Ready } from "../protocol/local.ts";
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

/** Answers of children that are remembered: names of models are few. */
const PATHS_MAX = 100;

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

/** Asked once each, however many tabs ask; asked again after a failure. */
const paths = new Map<string, Promise<string | null>>();
function once(key: string, find: () => Promise<string | null>): Promise<string | null> {
  let path = paths.get(key);
  if (path === undefined) {
    if (paths.size >= PATHS_MAX) paths.clear();
    path = find();
    paths.set(key, path);
    path.then(
      (found) => found === null && paths.delete(key),
      () => paths.delete(key),
    );
  }
  return path;
}

/** Models are fetched by a child: that code is the workers'. */
const locateModel = (name: string): Promise<string | null> =>
  once(
    `model ${name}`,
    async () =>
      (
        await ask<LocateModel, { path: string | null }>(LOCATE_MODEL, {
          name,
          dataDir: options.dataDir,
          appDir: options.appDir,
        })
      ).path,
  );

const pageFolder = async (): Promise<string> =>
  (await once("page", async () => (await ask<object, { folder: string }>(BUILD_PAGE, {})).folder)) ?? "";

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
