/**
 * Finds a model's checkpoint for tabs, which read it through the coordinator: LocateModel -> { path }, null when there is none of that name.
 * A name of the catalogue is fetched if need be. A path is honoured only below the application folder: a worker may not read what it likes.
 */
import { realpath, stat } from "node:fs/promises";
import { isAbsolute, relative } from "node:path";
import { OUTSIDE, SkeinError } from "../../protocol/errors.ts";
import type { Failed, LocateModel, Ready } from "../../protocol/local.ts";
import { startedByParent } from "../../protocol/node/parent.ts";
import { modelNames } from "../models/catalogue.ts";
import { isModelUrl } from "../models/model-url.ts";
import { ensureModel } from "./ensure-model.ts";

type Answer = Ready<{ path: string | null }> | Failed;

async function locate({ name, dataDir, appDir }: LocateModel): Promise<string | null> {
  process.chdir(appDir);
  // A worker that joined may not make this machine fetch what it likes.
  if (name.startsWith("hf:") || isModelUrl(name)) return null;
  const path = await ensureModel(name, { dataDir });
  // A tab reads one file, and makes the graph itself; a repository is many.
  if (!path.endsWith(".gguf") || (await stat(path)).isDirectory()) return null;
  if (modelNames.includes(name)) return path;
  const inside = relative(await realpath(appDir), path);
  return inside.startsWith("..") || isAbsolute(inside) ? null : path;
}

const answer = await startedByParent<LocateModel>()
  .then(locate)
  .then(
    (path): Answer => ({ type: "ready", result: { path } }),
    (thrown: unknown): Answer => {
      const { code, message } = SkeinError.from(thrown);
      return code === "NOT_FOUND" || code === "INVALID_ARGUMENT"
        ? { type: "ready", result: { path: null } }
        : { type: "failed", exit: OUTSIDE[code].exit, message };
    },
  );
process.send?.(answer, undefined, {}, () => process.exit(0));
