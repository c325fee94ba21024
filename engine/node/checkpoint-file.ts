/** A checkpoint on disk: a GGUF file, or the folder of a repository with safetensors or an ONNX file. */
import { stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { ByteSource } from "../gguf/source.ts";
import type { EmitOptions } from "../onnx/decoder.ts";
import { readOnnxModel } from "../onnx/read-model.ts";
import { planCheckpoint, planPreparation, type Preparation } from "../prepare.ts";
import { openRepository } from "../safetensors/checkpoint.ts";
import { onnxFile, SHARD_INDEX, shardNames } from "../safetensors/files.ts";
import { Folder } from "./folder.ts";

/** Files beside the weights that a conversion depends on. */
const SMALL_FILES = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
  SHARD_INDEX,
];

export interface CheckpointFile {
  /** Where its files lie. */
  readonly folder: string;
  /** The file by which the model is named, below that folder; null: by the folder. */
  readonly entry: string | null;
  /** Everything that the conversion depends on, in a fixed order. A GGUF file is alone. */
  readonly contents: readonly { readonly name: string; readonly source: ByteSource }[];
  /** Plans the conversion, and gives the source that its parts are read from. Throws CheckpointError where it can't be run. */
  plan(options: EmitOptions): Promise<{ readonly preparation: Preparation; readonly source: ByteSource }>;
  close(): Promise<void>;
}

export async function openCheckpointFile(path: string): Promise<CheckpointFile> {
  const folder = new Folder(path);
  try {
    return (await stat(path)).isDirectory() ? await openFolder(folder) : await openGguf(folder);
  } catch (error) {
    await folder.close();
    throw error;
  }
}

async function openGguf(folder: Folder): Promise<CheckpointFile> {
  const source = await folder.openPath(folder.path);
  return {
    folder: dirname(folder.path),
    entry: basename(folder.path),
    contents: [{ name: "", source }],
    plan: async (options) => ({ preparation: await planPreparation(source, options), source }),
    close: () => folder.close(),
  };
}

async function weightFiles(folder: Folder): Promise<readonly string[]> {
  const file = await onnxFile(folder);
  if (file === undefined) return shardNames(folder);
  const { external } = await readOnnxModel((await folder.open(file))!);
  return [file, ...external.map((name) => join(dirname(file), name))];
}

async function openFolder(folder: Folder): Promise<CheckpointFile> {
  const contents: { name: string; source: ByteSource }[] = [];
  for (const name of [...SMALL_FILES, ...(await weightFiles(folder))]) {
    const source = await folder.open(name);
    if (source !== undefined) contents.push({ name, source });
  }
  return {
    folder: folder.path,
    entry: null,
    contents,
    async plan(options) {
      const { checkpoint, source } = await openRepository(folder);
      return { preparation: planCheckpoint(checkpoint, options), source };
    },
    close: () => folder.close(),
  };
}
