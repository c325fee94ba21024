/** The files that a model on this disk consists of, as a tab is told of them. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { openCheckpointFile } from "../../engine/node/checkpoint-file.ts";
import { openGraphFile } from "../../engine/node/graph-file.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { MODEL_FILES_MAX } from "../../protocol/limits.ts";
import type { FoundModel } from "../../protocol/local.ts";
import { storedHashes } from "../models/stored-models.ts";

/**
 * `path`: the GGUF or ONNX file, or the repository's folder. Reads headers only. Throws CheckpointError for what is no model, `UNIMPLEMENTED` for one of more
 * files than are told.
 */
export async function listModel(path: string, dataDir: string): Promise<FoundModel> {
  const model = (await openGraphFile(path)) ?? (await openCheckpointFile(path));
  await model.close();
  const { folder, entry } = model;
  const names = model.contents.map(({ name }) => name || entry!);
  if (names.length > MODEL_FILES_MAX)
    throw new SkeinError("UNIMPLEMENTED", `it has ${names.length} files; a tab takes ${MODEL_FILES_MAX} at most`);
  const hashes = await storedHashes(dataDir, path);
  const files = names.map(async (file) => {
    const place = join(folder, file);
    const { size, mtimeMs } = await stat(place);
    return { file, bytes: size, sha256: hashes.get(place) ?? null, path: place, modifiedMs: mtimeMs };
  });
  return { entry, files: await Promise.all(files) };
}
