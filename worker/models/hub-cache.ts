/** Models that Hugging Face's own tools have fetched: `<cache>/models--owner--repository/snapshots/<commit>/`. Reads, never writes. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { entryFile, filesOfModel, type HubName } from "./hub-listing.ts";

/** Path of the GGUF or ONNX file, or of the folder; undefined where it isn't there as a whole. */
export async function findInHubCache(cache: string, name: HubName): Promise<string | undefined> {
  const folder = join(cache, `models--${name.repository.replace("/", "--")}`);
  const commit = await readFile(join(folder, "refs", name.revision), "utf8").catch(() => name.revision);
  const snapshot = join(folder, "snapshots", commit.trim());
  const names = await readdir(snapshot, { recursive: true }).catch(() => []);
  if (names.length === 0) return undefined;
  try {
    const files = filesOfModel(
      names.map((path) => path.replaceAll("\\", "/")),
      name,
    );
    // A link may point to a blob that is gone.
    for (const file of files) await stat(join(snapshot, file));
    const entry = entryFile(files, name.file);
    if (entry !== undefined) return join(snapshot, entry);
    return (await holdsAllShards(snapshot, files)) ? snapshot : undefined;
  } catch {
    return undefined;
  }
}

/** A fetch that was cut off leaves an index and some of its shards. */
async function holdsAllShards(snapshot: string, files: readonly string[]): Promise<boolean> {
  if (files.some((file) => file.endsWith(".onnx"))) return true;
  const index = await readFile(join(snapshot, "model.safetensors.index.json"), "utf8").catch(() => undefined);
  if (index === undefined) return files.includes("model.safetensors") && files.includes("tokenizer.json");
  const { weight_map: map } = JSON.parse(index) as { weight_map?: Record<string, string> };
  return files.includes("tokenizer.json") && Object.values(map ?? {}).every((shard) => files.includes(shard));
}
