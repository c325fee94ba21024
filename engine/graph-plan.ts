/**
 * What a repository's files hold that isn't one of our decoders, an encoder or an ONNX file, and how it becomes a graph for a provider.
 * Reads headers only; where the files lie is an argument.
 */
import { CheckpointError } from "./gguf/error.ts";
import { type ByteSource, sourceOfBytes } from "./gguf/source.ts";
import type { GraphDescription, TextModel } from "./graph-model.ts";
import { emitEncoder } from "./onnx/encoder.ts";
import { type WeightLayout, WEIGHTS_FILE } from "./onnx/graph.ts";
import { readOnnxModel } from "./onnx/read-model.ts";
import type { Target } from "./onnx/target.ts";
import { readTextModel } from "./onnx/text-settings.ts";
import { type EncoderCheckpoint, isEncoderConfig, openEncoderRepository } from "./safetensors/encoder.ts";
import { onnxFile, readJsonFile, type RepositoryFiles } from "./safetensors/files.ts";
import { isDecoderConfig } from "./safetensors/runnable.ts";

/** Under which a prepared graph lies. */
export const GRAPH_FILE = "model.onnx";

/** Undefined for the repository of a decoder. Without a file it is an encoder, whose graph is to be emitted. */
export async function graphIn(files: RepositoryFiles): Promise<{ readonly file: string | undefined } | undefined> {
  const config = await readJsonFile(files, "config.json");
  const file = await onnxFile(files);
  if (file !== undefined) return config !== undefined && isDecoderConfig(config) ? undefined : { file };
  return config !== undefined && isEncoderConfig(config) ? { file: undefined } : undefined;
}

/** An encoder's graph, and what its weights are made from. */
export interface EncoderPlan {
  readonly description: GraphDescription;
  readonly graph: Uint8Array;
  readonly layout: WeightLayout;
  readonly source: ByteSource;
}

/** Throws CheckpointError where it can't be run. */
export async function planEncoder(files: RepositoryFiles, target: Target): Promise<EncoderPlan> {
  const { checkpoint, source } = await openEncoderRepository(files);
  const { graph, layout } = emitEncoder(checkpoint, { target });
  const facts = await readOnnxModel(sourceOfBytes(graph));
  return {
    description: { ...facts, file: GRAPH_FILE, external: [WEIGHTS_FILE], isOwn: true, text: textModelOf(checkpoint) },
    graph,
    layout,
    source,
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

/** An ONNX file as it came. */
export interface OnnxPlan {
  readonly description: GraphDescription;
  /** Names in the repository of the files that the description names, by the description's names. */
  readonly places: ReadonlyMap<string, string>;
}

/** Throws CheckpointError for what is no ONNX file, and where a file of its tensors is missing. */
export async function planOnnx(files: RepositoryFiles, file: string): Promise<OnnxPlan> {
  const model = await files.open(file);
  if (model === undefined) throw new CheckpointError(`there is no ONNX file ${file}`);
  const facts = await readOnnxModel(model);
  const folder = file.slice(0, file.lastIndexOf("/") + 1);
  for (const name of facts.external)
    if ((await files.open(folder + name)) === undefined)
      throw new CheckpointError(`${file} has tensors in ${name}, which isn't beside it`);
  return {
    description: { ...facts, file: GRAPH_FILE, isOwn: false, text: await readTextModel(files) },
    places: new Map([[GRAPH_FILE, file], ...facts.external.map((name): [string, string] => [name, folder + name])]),
  };
}
