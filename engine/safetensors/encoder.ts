/** A repository of the sentence-transformers library with a BERT encoder: config, tokenizer, pooling, tensors' descriptions. */
import type { CheckpointTensor } from "../checkpoint.ts";
import { CheckpointError } from "../gguf/error.ts";
import type { ByteSource } from "../gguf/source.ts";
import { renamed } from "./checkpoint.ts";
import { openShards, readJsonFile, readTextFile, type RepositoryFiles, requireJsonFile } from "./files.ts";
import { countOf, isRecord, type JsonRecord, numberOf } from "./json.ts";
import { REPOSITORY_LIMITS } from "./limits.ts";

/** Hyper-parameters of an encoder. Sizes are element counts. JSON-safe. */
export interface EncoderConfig {
  readonly architecture: "bert";
  readonly layers: number;
  readonly heads: number;
  readonly embedding: number;
  readonly feedForward: number;
  readonly vocabulary: number;
  /** Rows of the table of positions. */
  readonly positions: number;
  /** Rows of the table of token types. */
  readonly types: number;
  readonly normEpsilon: number;
  /** How the tokens' vectors become one. */
  readonly pooling: "mean" | "cls";
  /** Whether that one is brought to length 1. */
  readonly normalises: boolean;
  /** Tokens of a text, with the two that are put around it; what is longer is cut. */
  readonly maxTokens: number;
}

export interface EncoderCheckpoint {
  readonly config: EncoderConfig;
  /** By the library's names, without a leading `bert.`. */
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  /** The object of tokenizer.json; padding and truncation are ours. */
  readonly tokenizerJson: JsonRecord;
}

const CLASSES = ["BertModel", "BertForMaskedLM"];

/** Parts of a BERT file that embeddings of sentences don't use. */
const UNUSED = /^(pooler\.|cls\.|embeddings\.position_ids$)/;

/** Reads configuration, tokenizer and the shards' headers. Throws CheckpointError for whatever can't be run, by its name. */
export async function openEncoderRepository(
  files: RepositoryFiles,
): Promise<{ readonly checkpoint: EncoderCheckpoint; readonly source: ByteSource }> {
  const config = await readEncoderConfig(files);
  const tokenizer = await requireJsonFile(files, "tokenizer.json", REPOSITORY_LIMITS.tokenizerBytes);
  const model = tokenizer["model"];
  if (!isRecord(model) || model["type"] !== "WordPiece") {
    const type = isRecord(model) ? (model["type"] ?? null) : null;
    throw new CheckpointError(
      `tokenizer.json: the model ${JSON.stringify(type)} is not supported in an encoder, only "WordPiece" is`,
    );
  }
  const { source, tensors } = await openShards(files);
  const nameOf = (name: string): string | undefined => {
    const own = name.replace(/^bert\./, "");
    return UNUSED.test(own) ? undefined : own;
  };
  // What isn't used needn't be readable.
  const used = new Map([...tensors].filter(([name]) => nameOf(name) !== undefined));
  return {
    source,
    checkpoint: {
      config,
      tensors: renamed(used, nameOf),
      tokenizerJson: { ...tokenizer, padding: null, truncation: null },
    },
  };
}

function classOf(config: JsonRecord): unknown {
  const classes = config["architectures"];
  return Array.isArray(classes) ? classes[0] : config["model_type"];
}

/** Whether config.json is an encoder's that is known. */
export function isEncoderConfig(config: JsonRecord): boolean {
  const name = classOf(config);
  return typeof name === "string" && CLASSES.includes(name);
}

async function readEncoderConfig(files: RepositoryFiles): Promise<EncoderConfig> {
  const config = await requireJsonFile(files, "config.json");
  const name = classOf(config);
  if (!isEncoderConfig(config))
    throw new CheckpointError(
      `the encoder ${JSON.stringify(name ?? null)} is not supported; supported are ${CLASSES.join(", ")}`,
    );
  for (const [key, wanted] of [
    ["hidden_act", "gelu"],
    ["position_embedding_type", "absolute"],
  ] as const) {
    if ((config[key] ?? wanted) !== wanted)
      throw new CheckpointError(
        `config.json: ${key} ${JSON.stringify(config[key])} is not supported, only "${wanted}" is`,
      );
  }
  const heads = countOf(config, "num_attention_heads");
  const embedding = countOf(config, "hidden_size");
  if (embedding % heads !== 0) throw new CheckpointError(`config.json: ${heads} heads don't divide ${embedding}`);
  const positions = countOf(config, "max_position_embeddings");
  const sentence = (await readJsonFile(files, "sentence_bert_config.json")) ?? {};
  return {
    architecture: "bert",
    layers: countOf(config, "num_hidden_layers"),
    heads,
    embedding,
    feedForward: countOf(config, "intermediate_size"),
    vocabulary: countOf(config, "vocab_size"),
    positions,
    types: countOf(config, "type_vocab_size", 2),
    normEpsilon: numberOf(config, "layer_norm_eps", 1e-12),
    pooling: await readPooling(files),
    normalises: await readNormalises(files),
    maxTokens: Math.min(positions, countOf(sentence, "max_seq_length", positions)),
  };
}

/** Mean where a repository says nothing. */
export async function readPooling(files: RepositoryFiles): Promise<EncoderConfig["pooling"]> {
  const pooling = (await readJsonFile(files, "1_Pooling/config.json")) ?? {};
  const modes = Object.keys(pooling).filter((key) => key.startsWith("pooling_mode_") && pooling[key] === true);
  const [mode = "pooling_mode_mean_tokens", ...others] = modes;
  if (others.length === 0 && mode === "pooling_mode_mean_tokens") return "mean";
  if (others.length === 0 && mode === "pooling_mode_cls_token") return "cls";
  throw new CheckpointError(
    `1_Pooling/config.json: ${modes.join(" and ")} is not supported, only the mean of the tokens or the first one is`,
  );
}

export async function readNormalises(files: RepositoryFiles): Promise<boolean> {
  const text = await readTextFile(files, "modules.json");
  return text !== undefined && /"sentence_transformers\.models\.Normalize"/.test(text);
}
