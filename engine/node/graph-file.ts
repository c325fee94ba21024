/** A graph on disk that isn't one of our decoders: an ONNX file, alone or in a repository's folder, or the folder of an encoder. */
import { constants, copyFile, open, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { CheckpointError } from "../gguf/error.ts";
import { type ByteSource, sourceOfBytes } from "../gguf/source.ts";
import type { GraphFacts, PreparedGraph, TextModel, TextSettings } from "../graph-model.ts";
import { emitEncoder } from "../onnx/encoder.ts";
import { WEIGHTS_FILE } from "../onnx/graph.ts";
import { readOnnxModel } from "../onnx/read-model.ts";
import type { Target } from "../onnx/target.ts";
import { readTextModel } from "../onnx/text-settings.ts";
import { type EncoderCheckpoint, isEncoderConfig, openEncoderRepository } from "../safetensors/encoder.ts";
import { onnxFile, readJsonFile, shardNames } from "../safetensors/files.ts";
import { isDecoderConfig } from "../safetensors/runnable.ts";
import { Folder } from "./folder.ts";
import { writeWeights } from "./weights-file.ts";

const GRAPH_FILE = "model.onnx";
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
  readonly contents: readonly { readonly name: string; readonly source: ByteSource }[];
  /** What it says of itself. */
  describe(): Promise<GraphFacts & { readonly text: TextSettings | undefined }>;
  /** Writes graph and tensors into a folder, and describes them. Throws CheckpointError where it can't be run. */
  write(
    directory: string,
    target: Target,
    onProgress: (done: number, total: number) => void,
  ): Promise<Omit<PreparedGraph, "directory">>;
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
    const config = await readJsonFile(files, "config.json");
    const file = await onnxFile(files);
    if (file !== undefined) return config !== undefined && isDecoderConfig(config) ? undefined : { folder: path, file };
    return config !== undefined && isEncoderConfig(config) ? { folder: path } : undefined;
  } finally {
    await files.close();
  }
}

async function openEncoder(folder: Folder): Promise<GraphFile> {
  return {
    isPortable: false,
    contents: await contentsOf(folder, [...TEXT_FILES, ...(await shardNames(folder))]),
    async describe() {
      const { checkpoint } = await openEncoderRepository(folder);
      const { graph } = emitEncoder(checkpoint, { target: "f32" });
      return { ...(await readOnnxModel(sourceOfBytes(graph))), text: textModelOf(checkpoint) };
    },
    async write(directory, target, onProgress) {
      const { checkpoint, source } = await openEncoderRepository(folder);
      const { graph, layout } = emitEncoder(checkpoint, { target });
      await writeFile(join(directory, GRAPH_FILE), graph, { flush: true });
      await writeWeights(directory, layout, source, onProgress);
      return {
        ...(await readOnnxModel(sourceOfBytes(graph))),
        file: GRAPH_FILE,
        external: [WEIGHTS_FILE],
        isOwn: true,
        text: textModelOf(checkpoint),
      };
    },
    close: () => folder.close(),
  };
}

const textModelOf = ({ config, tokenizerJson }: EncoderCheckpoint): TextModel => ({
  tokenizerJson,
  tokenizerConfig: { tokenizer_class: "BertTokenizer" },
  maxTokens: config.maxTokens,
  vocabulary: config.vocabulary,
  padToken: 0,
  // The graph does both.
  pooling: config.pooling,
  normalises: false,
  labels: [],
  isMultiLabel: false,
});

async function openOnnx(folder: Folder, file: string): Promise<GraphFile> {
  const model = await folder.open(file);
  if (model === undefined) throw new CheckpointError(`there is no ONNX file ${join(folder.path, file)}`);
  const facts = await readOnnxModel(model);
  const beside = (name: string): string => join(dirname(file), name);
  const names = [file, ...facts.external.map(beside)];
  for (const name of names)
    if ((await folder.open(name)) === undefined)
      throw new CheckpointError(`${file} has tensors in ${basename(name)}, which isn't beside it`);
  return {
    isPortable: true,
    contents: await contentsOf(folder, [...TEXT_FILES, ...names]),
    describe: async () => ({ ...facts, text: await readTextModel(folder) }),
    async write(directory, _target, onProgress) {
      for (const [index, name] of names.entries()) {
        const copy = join(directory, index === 0 ? GRAPH_FILE : basename(name));
        // A copy: what lies in the cache must not change with the original. Some file systems copy when written only.
        await copyFile(join(folder.path, name), copy, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
        await flush(copy);
        onProgress(index + 1, names.length);
      }
      return { ...facts, file: GRAPH_FILE, isOwn: false, text: await readTextModel(folder) };
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
