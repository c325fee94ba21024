/** What a GGUF header says of the model: hyper-parameters and tokenizer. Knows the llama architecture's keys, no tensors. */
import type { ModelConfig } from "../types.ts";
import { CheckpointError } from "./error.ts";
import type { GgufHeader, GgufValue } from "./header.ts";

type Metadata = ReadonlyMap<string, GgufValue>;

/** Largest sensible value of a count in the configuration: a guard against nonsense, far above any model. */
const MOST = 16_777_216;

function number(metadata: Metadata, key: string, fallback?: number): number {
  const value = metadata.get(key) ?? fallback;
  if (typeof value !== "number" || !Number.isFinite(value) || value <= 0 || value > MOST) {
    throw new CheckpointError(
      `the metadata value ${key} is ${value === undefined ? "missing" : String(value)}; a positive number is expected`,
    );
  }
  return value;
}

function count(metadata: Metadata, key: string, fallback?: number): number {
  const value = number(metadata, key, fallback);
  if (!Number.isInteger(value))
    throw new CheckpointError(`the metadata value ${key} is ${value}; a whole number is expected`);
  return value;
}

/**
 * Hyper-parameters from the metadata. Throws CheckpointError where a key is missing or nonsense, or where the checkpoint needs what
 * the emitter doesn't have (another architecture, partial rotary embedding, position scaling).
 */
export function readModelConfig({ metadata }: GgufHeader): ModelConfig {
  const architecture = metadata.get("general.architecture");
  if (architecture !== "llama") {
    throw new CheckpointError(
      `the checkpoint's architecture is ${JSON.stringify(architecture ?? null)}; only "llama" (Llama, SmolLM2, Mistral) is supported`,
    );
  }
  const heads = count(metadata, "llama.attention.head_count");
  const embedding = count(metadata, "llama.embedding_length");
  const headDim = count(metadata, "llama.attention.key_length", embedding / heads);
  const tokens = metadata.get("tokenizer.ggml.tokens");
  const config: ModelConfig = {
    architecture,
    layers: count(metadata, "llama.block_count"),
    heads,
    kvHeads: count(metadata, "llama.attention.head_count_kv", heads),
    headDim,
    embedding,
    feedForward: count(metadata, "llama.feed_forward_length"),
    vocabulary: Array.isArray(tokens) ? tokens.length : count(metadata, "llama.vocab_size"),
    contextLength: count(metadata, "llama.context_length"),
    ropeTheta: number(metadata, "llama.rope.freq_base", 10_000),
    normEpsilon: number(metadata, "llama.attention.layer_norm_rms_epsilon"),
  };
  if (headDim % 2 !== 0 || heads % config.kvHeads !== 0) {
    throw new CheckpointError(
      `${heads} heads of ${headDim} with ${config.kvHeads} key-value heads don't fit together: the metadata is damaged`,
    );
  }
  const rotary = count(metadata, "llama.rope.dimension_count", headDim);
  if (rotary !== headDim)
    throw new CheckpointError(`rotary embedding of ${rotary} of ${headDim} dimensions is not supported`);
  const scaling = metadata.get("llama.rope.scaling.type") ?? "none";
  if (scaling !== "none") throw new CheckpointError(`position scaling ${JSON.stringify(scaling)} is not supported`);
  return config;
}

/** Everything the tokenizer needs: all metadata under `tokenizer.`, by its full key. JSON-safe: no bigints. */
export type TokenizerMetadata = Readonly<Record<string, unknown>>;

/** The header's `tokenizer.*` entries. */
export function readTokenizerMetadata({ metadata }: GgufHeader): TokenizerMetadata {
  return Object.fromEntries([...metadata].filter(([key, value]) => key.startsWith("tokenizer.") && isJson(value)));
}

/** No tokenizer needs integers beyond 2^53, and JSON has none. */
function isJson(value: GgufValue): boolean {
  return !(Array.isArray(value) ? value : [value]).some((scalar) => typeof scalar === "bigint");
}
