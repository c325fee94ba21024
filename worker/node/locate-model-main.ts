/**
 * Finds a model for tabs, which read its files through the coordinator: LocateModel -> FoundModel, or why there is none. Any name that a Node worker
 * takes, fetched if need be. A path is honoured only below the application folder: a worker may not read what it likes.
 */
import { realpath } from "node:fs/promises";
import { isAbsolute, relative } from "node:path";
import { OUTSIDE, SkeinError, type ErrorCode } from "../../protocol/errors.ts";
import type { Failed, FoundModel, LocateModel, ModelRefusal, Ready } from "../../protocol/local.ts";
import { startedByParent } from "../../protocol/node/parent.ts";
import { isModelPath } from "../models/fetch-model.ts";
import { describeModel } from "./describe-model.ts";
import { ensureModel } from "./ensure-model.ts";
import { listModel } from "./model-listing.ts";

type Answer = Ready<FoundModel | ModelRefusal> | Failed;

/** What the one who asked can do something about; the rest is this machine's trouble. */
const REFUSALS: readonly ErrorCode[] = ["NOT_FOUND", "INVALID_ARGUMENT", "PERMISSION_DENIED", "UNIMPLEMENTED"];

async function locate({ name, dataDir, appDir }: LocateModel): Promise<FoundModel> {
  process.chdir(appDir);
  if (!isModelPath(name)) return open(await ensureModel(name, { dataDir }), dataDir);
  const folder = await realpath(appDir);
  // The same words whether it is elsewhere or nowhere.
  const unknown = (): SkeinError =>
    new SkeinError(
      "NOT_FOUND",
      `the mesh has no model ${name.slice(0, 100)} for tabs: a path must lie in the coordinator's folder of applications (--app-dir)`,
    );
  const path = await ensureModel(name, { dataDir }).catch((thrown: unknown) => {
    const { code } = SkeinError.from(thrown);
    throw code === "NOT_FOUND" || code === "INVALID_ARGUMENT" ? unknown() : thrown;
  });
  if (!isInside(folder, path)) throw unknown();
  const found = await open(path, dataDir);
  for (const file of found.files) if (!isInside(folder, await realpath(file.path))) throw unknown();
  return found;
}

/** Whether it can be run is found out first: from headers, before a tab fetches anything. */
async function open(path: string, dataDir: string): Promise<FoundModel> {
  await describeModel(path);
  return listModel(path, dataDir);
}

function isInside(folder: string, path: string): boolean {
  const below = relative(folder, path);
  return !below.startsWith("..") && !isAbsolute(below);
}

const answer = await startedByParent<LocateModel>()
  .then(locate)
  .then(
    (found): Answer => ({ type: "ready", result: found }),
    (thrown: unknown): Answer => {
      const { code, message } = SkeinError.from(thrown);
      return REFUSALS.includes(code)
        ? { type: "ready", result: { code, message } }
        : { type: "failed", exit: OUTSIDE[code].exit, message };
    },
  );
process.send?.(answer, undefined, {}, () => process.exit(0));
