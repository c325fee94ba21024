/** A graph on disk that isn't one of our decoders: an ONNX file, alone or in a repository's folder, or the folder of an encoder. */
import { constants, copyFile, open, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { ByteSource } from "../gguf/source.ts";
import type { GraphDescription, GraphFacts, TextSettings } from "../graph-model.ts";
import { graphIn, planEncoder, planOnnx } from "../graph-plan.ts";
import type { Target } from "../onnx/target.ts";
import { SHARD_INDEX, shardNames } from "../safetensors/files.ts";
import { Folder } from "./folder.ts";
import { writeWeights } from "./weights-file.ts";

/** Files beside the weights that a graph of texts depends on. */
const TEXT_FILES = [
  "config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "modules.json",
  "sentence_bert_config.json",
  "1_Pooling/config.json",
];

export interface GraphFile {
  /** What is written is the same for every target. */
  readonly isPortable: boolean;
  /** As of a CheckpointFile. */
  readonly folder: string;
  readonly entry: string | null;
  readonly contents: readonly { readonly name: string; readonly source: ByteSource }[];
  /** What it says of itself. */
  describe(): Promise<GraphFacts & { readonly text: TextSettings | undefined }>;
  /** Writes graph and tensors into a folder, and describes them. Throws CheckpointError where it can't be run. */
  write(
    directory: string,
    target: Target,
    onProgress: (done: number, total: number) => void,
  ): Promise<GraphDescription>;
  close(): Promise<void>;
}

/** Undefined for what is something else: a GGUF file, or the folder of a decoder. */
export async function openGraphFile(path: string): Promise<GraphFile | undefined> {
  const place = await placeOf(path);
  if (place === undefined) return undefined;
  const folder = new Folder(place.folder);
  try {
    return await (place.file === undefined ? openEncoder(folder) : openOnnx(folder, place.file));
  } catch (error) {
    await folder.close();
    throw error;
  }
}

/** The repository's folder, and the ONNX file in it; without one its tensors are to be emitted. */
async function placeOf(path: string): Promise<{ readonly folder: string; readonly file?: string } | undefined> {
  if (!(await stat(path)).isDirectory()) {
    if (!path.endsWith(".onnx")) return undefined;
    const folder = dirname(path);
    const above = dirname(folder);
    return basename(folder) === "onnx" && (await isFile(join(above, "config.json")))
      ? { folder: above, file: `onnx/${basename(path)}` }
      : { folder, file: basename(path) };
  }
  const files = new Folder(path);
  try {
    const place = await graphIn(files);
    return place && (place.file === undefined ? { folder: path } : { folder: path, file: place.file });
  } finally {
    await files.close();
  }
}

async function openEncoder(folder: Folder): Promise<GraphFile> {
  return {
    isPortable: false,
    folder: folder.path,
    entry: null,
    contents: await contentsOf(folder, [...TEXT_FILES, SHARD_INDEX, ...(await shardNames(folder))]),
    describe: async () => (await planEncoder(folder, "f32")).description,
    async write(directory, target, onProgress) {
      const { description, graph, layout, source } = await planEncoder(folder, target);
      await writeFile(join(directory, description.file), graph, { flush: true });
      await writeWeights(directory, layout, source, onProgress);
      return description;
    },
    close: () => folder.close(),
  };
}

async function openOnnx(folder: Folder, file: string): Promise<GraphFile> {
  const { description, places } = await planOnnx(folder, file);
  return {
    isPortable: true,
    folder: folder.path,
    entry: file,
    contents: await contentsOf(folder, [...TEXT_FILES, ...places.values()]),
    describe: async () => description,
    async write(directory, _target, onProgress) {
      for (const [index, [name, place]] of [...places].entries()) {
        const copy = join(directory, name);
        // A copy: what lies in the cache must not change with the original. Some file systems copy when written only.
        await copyFile(join(folder.path, place), copy, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
        await flush(copy);
        onProgress(index + 1, places.size);
      }
      return description;
    },
    close: () => folder.close(),
  };
}

/** A cache entry is trusted for ever once renamed, so its bytes must be on the disk before its name is. */
async function flush(path: string): Promise<void> {
  const handle = await open(path, "r+");
  try {
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

async function contentsOf(folder: Folder, names: readonly string[]): Promise<GraphFile["contents"]> {
  const contents: { name: string; source: ByteSource }[] = [];
  for (const name of names) {
    const source = await folder.open(name);
    if (source !== undefined) contents.push({ name, source });
  }
  return contents;
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
