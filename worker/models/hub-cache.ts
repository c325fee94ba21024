/** Models that Hugging Face's own tools have fetched: `<cache>/models--owner--repository/snapshots/<commit>/`. Reads, never writes. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { sizeOnDisk } from "./failure.ts";
import { entryFile, filesOfModel, type HubName } from "./hub-listing.ts";
import { type Content, hashFile, hashOf } from "./verified-file.ts";

/** Path of the GGUF or ONNX file, or of the folder; undefined where it isn't there as a whole. */
export async function findInHubCache(cache: string, name: HubName): Promise<string | undefined> {
  const snapshot = await snapshotOf(cache, name);
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

/**
 * Path of the one file, or of the folder, that has exactly these contents: what a catalogue has pinned is taken from nobody unseen.
 * undefined where it isn't there, or is another.
 */
export async function findPinnedInHubCache(
  cache: string | undefined,
  hub: Pick<HubName, "repository" | "revision">,
  files: readonly (Content & { readonly file: string })[],
): Promise<string | undefined> {
  if (cache === undefined) return undefined;
  const snapshot = await snapshotOf(cache, hub);
  for (const content of files) {
    const path = join(snapshot, content.file);
    if ((await sizeOnDisk(path)) !== content.bytes || (await hashFile(path, content)) !== hashOf(content))
      return undefined;
  }
  const entry = entryFile(
    files.map(({ file }) => file),
    undefined,
  );
  return entry === undefined ? snapshot : join(snapshot, entry);
}

async function snapshotOf(
  cache: string,
  { repository, revision }: Pick<HubName, "repository" | "revision">,
): Promise<string> {
  const folder = join(cache, `models--${repository.replace("/", "--")}`);
  const commit = await readFile(join(folder, "refs", revision), "utf8").catch(() => revision);
  return join(folder, "snapshots", commit.trim());
}

/** A fetch that was cut off leaves an index and some of its shards. */
async function holdsAllShards(snapshot: string, files: readonly string[]): Promise<boolean> {
  if (files.some((file) => file.endsWith(".onnx"))) return true;
  const index = await readFile(join(snapshot, "model.safetensors.index.json"), "utf8").catch(() => undefined);
  if (index === undefined) return files.includes("model.safetensors") && files.includes("tokenizer.json");
  const { weight_map: map } = JSON.parse(index) as { weight_map?: Record<string, string> };
  return files.includes("tokenizer.json") && Object.values(map ?? {}).every((shard) => files.includes(shard));
}
