/**
 * Prepared models on disk, one directory each, named after the checkpoint's SHA-256, the target and the format's version. Written aside
 * and renamed when whole: a reader sees all of it or nothing, and of two processes that prepare the same, one wins and both succeed.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { WEIGHTS_FILE } from "../onnx/graph.ts";
import type { EmitOptions } from "../onnx/decoder.ts";
import { hasLongFactors } from "../onnx/rotary.ts";
import { runsOnKernels, type Target, TARGETS } from "../onnx/target.ts";
import type { PreparedModel } from "../prepare.ts";
import type { GraphDescription, PreparedGraph } from "../graph-model.ts";
import { type CheckpointFile, openCheckpointFile } from "./checkpoint-file.ts";
import { weightsOfFile } from "./file-source.ts";
import { type GraphFile, openGraphFile } from "./graph-file.ts";
import { writeWeights } from "./weights-file.ts";

/** Rises whenever the emitter or the layout changes, so that an older conversion is not taken for a new one. */
const FORMAT_VERSION = 4;

/** What says how the weights make a model: a graph, or where they lie for the kernels. */
const graphFileOf = (target: Target): string => (runsOnKernels(target) ? "decoder.json" : "model.onnx");
const TOKENIZER_FILE = "tokenizer.json";
const MANIFEST_FILE = "prepared.json";

/** Bytes hashed at a time. */
const HASH_CHUNK = 4 * 1024 * 1024;
/** An unfinished conversion older than this belongs to nobody: the largest models take a few minutes. In ms. */
const ABANDONED_MS = 60 * 60 * 1000;

interface Manifest extends Pick<PreparedModel, "target" | "config" | "positions"> {
  readonly formatVersion: number;
  readonly weightBytes: number;
}

/** Of a graph that isn't one of our decoders. */
interface GraphManifest {
  readonly formatVersion: number;
  readonly graph: GraphDescription;
}

export type CacheProgress =
  | { readonly stage: "hash"; readonly done: number; readonly total: number }
  | { readonly stage: "convert"; readonly done: number; readonly total: number };

/** Where a conversion of the checkpoint with this SHA-256 lies in the cache; `isLong`: for slots beyond the context of training, where that matters. */
export function preparedDirectory(cache: string, sha256: string, target: Target | "any", isLong = false): string {
  return join(cache, `${sha256}-${target}${isLong ? "-long" : ""}-v${FORMAT_VERSION}`);
}

/**
 * Makes sure that `file`, a GGUF file, an ONNX file or the folder of a repository, is prepared for `target` under `cache`, and returns the directory for `openPrepared`. `now` is in ms since the
 * epoch. Throws CheckpointError for unusable files; on a full disk nothing is left behind.
 */
export async function prepareCached({
  file,
  target,
  cache,
  now,
  slotLength,
  onProgress,
}: {
  readonly file: string;
  readonly target: Target;
  readonly cache: string;
  readonly now: number;
  /** Tokens of the slots that it is for. */
  readonly slotLength?: number;
  readonly onProgress?: (progress: CacheProgress) => void;
}): Promise<string> {
  const checkpoint = await open(file);
  try {
    const sha256 = await hash(checkpoint, (done, total) => onProgress?.({ stage: "hash", done, total }));
    const isPortable = "isPortable" in checkpoint && checkpoint.isPortable;
    let directory = preparedDirectory(cache, sha256, isPortable ? "any" : target);
    if (slotLength !== undefined && "plan" in checkpoint && (await isForLong(directory, checkpoint, slotLength)))
      directory = preparedDirectory(cache, sha256, target, true);
    if (await exists(join(directory, MANIFEST_FILE))) return directory;
    await mkdir(cache, { recursive: true });
    await removeAbandoned(cache, now);
    const partial = `${directory}.partial-${randomUUID()}`;
    try {
      await mkdir(partial);
      await write(partial, checkpoint, { target, ...(slotLength !== undefined && { slotLength }) }, (done, total) =>
        onProgress?.({ stage: "convert", done, total }),
      );
      await publish(partial, directory);
    } catch (error) {
      throw explained(error, cache);
    } finally {
      await rm(partial, { recursive: true, force: true });
    }
    return directory;
  } finally {
    await checkpoint.close();
  }
}

/**
 * The folders under `cache` that hold conversions of `file`, for whichever target and by whichever version of this program; not those
 * under way. Reads all of it: its content is what tells.
 */
export async function preparedCopies(cache: string, file: string): Promise<string[]> {
  const checkpoint = await open(file);
  try {
    const names = await readdir(cache).catch(() => []);
    if (names.length === 0) return [];
    const sha256 = await hash(checkpoint, () => undefined);
    return names
      .filter((name) => name.startsWith(`${sha256}-`) && /-v\d+$/.test(name))
      .map((name) => join(cache, name));
  } finally {
    await checkpoint.close();
  }
}

const open = async (file: string): Promise<CheckpointFile | GraphFile> =>
  (await openGraphFile(file)) ?? (await openCheckpointFile(file));

/** Whether slots of this length need a conversion of their own; what is there already knows it as well as the checkpoint. */
async function isForLong(directory: string, checkpoint: CheckpointFile, slotLength: number): Promise<boolean> {
  const { config } = (await exists(join(directory, MANIFEST_FILE)))
    ? await openPrepared(directory)
    : (await checkpoint.plan({ target: "f32" })).preparation;
  return hasLongFactors(config, slotLength);
}

/** The hash of a file that is alone; of a folder, that of its files' names and hashes. */
async function hash(
  { contents }: Pick<CheckpointFile, "contents">,
  onProgress: (done: number, total: number) => void,
): Promise<string> {
  const total = contents.reduce((sum, { source }) => sum + source.size, 0);
  const all = createHash("sha256");
  let before = 0;
  for (const { name, source } of contents) {
    const digest = createHash("sha256");
    for (let at = 0; at < source.size; at += HASH_CHUNK) {
      const length = Math.min(HASH_CHUNK, source.size - at);
      digest.update(await source.read(at, length));
      onProgress(before + at + length, total);
    }
    before += source.size;
    const own = digest.digest("hex");
    if (name === "") return own;
    all.update(`${name} ${own}\n`);
  }
  return all.digest("hex");
}

async function write(
  directory: string,
  checkpoint: CheckpointFile | GraphFile,
  options: EmitOptions,
  onProgress: (done: number, total: number) => void,
): Promise<void> {
  const { target } = options;
  if (!("plan" in checkpoint)) {
    const graph = await checkpoint.write(directory, target, onProgress);
    const manifest: GraphManifest = { formatVersion: FORMAT_VERSION, graph };
    await writeFile(join(directory, MANIFEST_FILE), JSON.stringify(manifest), { flush: true });
    return;
  }
  const { preparation, source } = await checkpoint.plan(options);
  const { graph, layout, tokenizer, config, positions } = preparation;
  await writeWeights(directory, layout, source, onProgress);
  await writeFile(join(directory, graphFileOf(target)), graph, { flush: true });
  await writeFile(join(directory, TOKENIZER_FILE), JSON.stringify(tokenizer), { flush: true });
  const manifest: Manifest = {
    formatVersion: FORMAT_VERSION,
    target,
    config,
    positions,
    weightBytes: layout.byteLength,
  };
  await writeFile(join(directory, MANIFEST_FILE), JSON.stringify(manifest), { flush: true });
}

/** Renames, unless another process was first: then its work is as good as ours. */
async function publish(partial: string, directory: string): Promise<void> {
  try {
    await rename(partial, directory);
  } catch (error) {
    if (!(await exists(join(directory, MANIFEST_FILE)))) throw error;
  }
}

/** Deletes what killed conversions left. */
async function removeAbandoned(cache: string, now: number): Promise<void> {
  for (const name of await readdir(cache)) {
    if (!/\.partial-[0-9a-f-]{36}$/.test(name)) continue;
    const path = join(cache, name);
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: now }));
    if (now - mtimeMs > ABANDONED_MS) await rm(path, { recursive: true, force: true });
  }
}

/** A full disk, with what was being attempted where. */
function explained(error: unknown, cache: string): unknown {
  const isFull = error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");
  return isFull
    ? new Error(`the disk is full: the prepared model doesn't fit under ${cache}; make room or use another folder`, {
        cause: error,
      })
    : error;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Opens a decoder that `prepareCached` made. */
export async function openPrepared(directory: string): Promise<PreparedModel> {
  const opened = await openAnyPrepared(directory);
  if ("file" in opened) throw new Error(`${directory} holds no decoder`);
  return opened;
}

/** Opens what `prepareCached` made. The weights stay on disk until a provider asks for them. */
export async function openAnyPrepared(directory: string): Promise<PreparedModel | PreparedGraph> {
  const manifest = parseManifest(await readFile(join(directory, MANIFEST_FILE), "utf8"), directory);
  if ("graph" in manifest) return { ...manifest.graph, directory };
  const { target, config, positions, weightBytes } = manifest;
  const graph = new Uint8Array(await readFile(join(directory, graphFileOf(target))));
  const tokenizer = JSON.parse(await readFile(join(directory, TOKENIZER_FILE), "utf8")) as PreparedModel["tokenizer"];
  return {
    target,
    config,
    positions,
    graph,
    tokenizer,
    directory,
    weights: weightsOfFile(join(directory, WEIGHTS_FILE), weightBytes),
  };
}

function parseManifest(text: string, directory: string): Manifest | GraphManifest {
  const manifest = JSON.parse(text) as Partial<Manifest & GraphManifest>;
  const { formatVersion, target, graph } = manifest;
  if (
    formatVersion !== FORMAT_VERSION ||
    (graph === undefined && (target === undefined || !TARGETS.includes(target)))
  ) {
    throw new Error(
      `${directory} was prepared by another version of this program (format ${String(formatVersion)}): prepare the checkpoint again`,
    );
  }
  return manifest as Manifest | GraphManifest;
}
