/** What a GGUF header says of the model: hyper-parameters and tokenizer. Knows the architectures' keys, no tensors. */
import { isArchitecture, partOfHead, SUPPORTED_ARCHITECTURES } from "../architectures.ts";
import { YARN_TURNS, yarnFactors, yarnScale } from "../rope-scaling.ts";
import type { ArchitectureName, AttentionWindow, ModelConfig } from "../types.ts";
import { CheckpointError } from "./error.ts";
import type { GgufHeader, GgufValue } from "./header.ts";

/** Largest sensible value of a count in the configuration: a guard against nonsense, far above any model. */
const MOST = 16_777_216;

/** Gemma 3's layers with a window, which older files leave out as llama.cpp does. */
const GEMMA3_GLOBAL_EVERY = 6;
const GEMMA3_LOCAL_THETA = 10_000;
/** Layers of the one Gemma 3 whose attention is scaled by the width of the embedding instead of the head's: 27B. */
const GEMMA3_27B_LAYERS = 62;

/** Features under `<architecture>.` that change the computation and can't be run. Zero or absent is fine. */
const UNSUPPORTED = [
  ["expert_count", "a mixture of experts"],
  ["attn_logit_softcapping", "soft capping of attention scores"],
  ["final_logit_softcapping", "soft capping of logits"],
  ["attention.clamp_kqv", "clamping of queries, keys and values"],
  ["logit_scale", "scaling of logits"],
  ["attention.max_alibi_bias", "ALiBi position bias"],
] as const;

/** Reads the values under one architecture's prefix. */
class Keys {
  readonly #metadata: ReadonlyMap<string, GgufValue>;
  readonly #prefix: string;

  constructor(metadata: ReadonlyMap<string, GgufValue>, prefix: string) {
    this.#metadata = metadata;
    this.#prefix = prefix;
  }

  get(key: string): GgufValue | undefined {
    return this.#metadata.get(`${this.#prefix}.${key}`);
  }

  number(key: string, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value) || value <= 0 || value > MOST) {
      throw new CheckpointError(
        `the metadata value ${this.#prefix}.${key} is ${value === undefined ? "missing" : String(value)}; a positive number is expected`,
      );
    }
    return value;
  }

  count(key: string, fallback?: number): number {
    const value = this.number(key, fallback);
    if (!Number.isInteger(value))
      throw new CheckpointError(`the metadata value ${this.#prefix}.${key} is ${value}; a whole number is expected`);
    return value;
  }
}

/**
 * Hyper-parameters from the metadata. Throws CheckpointError where a key is missing or nonsense, or where the checkpoint needs what
 * the emitter doesn't have (another architecture, other position scalings).
 */
export function readModelConfig(header: GgufHeader): ModelConfig {
  const { metadata } = header;
  const architecture = metadata.get("general.architecture");
  if (!isArchitecture(architecture)) {
    throw new CheckpointError(
      `the checkpoint's architecture ${JSON.stringify(architecture ?? null)} is not supported; supported are ${SUPPORTED_ARCHITECTURES}`,
    );
  }
  const keys = new Keys(metadata, architecture);
  for (const [key, what] of UNSUPPORTED) {
    const value = keys.get(key) ?? 0;
    if (value !== 0) throw new CheckpointError(`${what} (${architecture}.${key} = ${String(value)}) is not supported`);
  }
  const heads = keys.count("attention.head_count");
  const embedding = keys.count("embedding_length");
  const headDim = keys.count("attention.key_length", embedding / heads);
  const kvHeads = keys.count("attention.head_count_kv", heads);
  const tokens = metadata.get("tokenizer.ggml.tokens");
  if (headDim % 2 !== 0 || heads % kvHeads !== 0) {
    throw new CheckpointError(
      `${heads} heads of ${headDim} with ${kvHeads} key-value heads don't fit together: the metadata is damaged`,
    );
  }
  const valueDim = keys.count("attention.value_length", headDim);
  if (valueDim !== headDim)
    throw new CheckpointError(
      `${architecture}.attention.value_length is ${valueDim}: values of another size than keys (${headDim}) are not supported`,
    );
  const ropeDim = keys.count("rope.dimension_count", headDim);
  const layers = keys.count("block_count");
  return {
    architecture,
    layers,
    heads,
    kvHeads,
    headDim,
    embedding,
    feedForward: keys.count("feed_forward_length"),
    vocabulary: Array.isArray(tokens) ? tokens.length : keys.count("vocab_size"),
    contextLength: keys.count("context_length"),
    ropeTheta: keys.number("rope.freq_base", 10_000),
    normEpsilon: keys.number("attention.layer_norm_rms_epsilon"),
    ...partOfHead(architecture, ropeDim, headDim),
    ...stretching(keys, ropeDim, header.tensors.has("rope_factors_long.weight")),
    ...windowOf(keys, architecture),
    ...(architecture === "gemma3" && {
      embeddingScale: bfloat16(Math.sqrt(embedding)),
      ...(layers === GEMMA3_27B_LAYERS && { attentionScale: 1 / Math.sqrt(embedding / heads) }),
    }),
  };
}

/** @param hasLongFactors llama.cpp's converter writes LongRoPE's tensors, and no name of it */
function stretching(
  keys: Keys,
  ropeDim: number,
  hasLongFactors: boolean,
): Pick<ModelConfig, "ropeFactors" | "ropeScale" | "longRope"> & { contextLength?: number } {
  const scaling = keys.get("rope.scaling.type") ?? (hasLongFactors ? "longrope" : "none");
  const attention = keys.number("rope.scaling.attn_factor", 1);
  switch (scaling) {
    case "none":
      return {};
    case "linear":
      return { ropeFactors: new Array<number>(ropeDim / 2).fill(keys.number("rope.scaling.factor")) };
    case "longrope":
      return { longRope: { original: keys.count("rope.scaling.original_context_length") }, ropeScale: attention };
    case "yarn": {
      for (const [key, usual] of Object.entries({ yarn_log_multiplier: 0, yarn_ext_factor: 1, yarn_attn_factor: 1 }))
        if ((keys.get(`rope.scaling.${key}`) ?? usual) !== usual)
          throw new CheckpointError(`position scaling "yarn" with ${key} is not supported`);
      const factor = keys.number("rope.scaling.factor");
      const trained = keys.count("context_length");
      const original = keys.count("rope.scaling.original_context_length", trained);
      const settings = {
        ...{ ropeDim, factor, original, theta: keys.number("rope.freq_base", 10_000) },
        fast: keys.number("rope.scaling.yarn_beta_fast", YARN_TURNS.fast),
        slow: keys.number("rope.scaling.yarn_beta_slow", YARN_TURNS.slow),
      };
      return {
        ropeFactors: yarnFactors(settings),
        ropeScale: attention * yarnScale(factor),
        contextLength: Math.max(trained, Math.floor(original * factor)),
      };
    }
    default:
      throw new CheckpointError(
        `position scaling ${JSON.stringify(scaling)} is not supported, only "linear", "yarn" and "longrope" are`,
      );
  }
}

function windowOf(keys: Keys, architecture: ArchitectureName): { window?: AttentionWindow } {
  if ((keys.get("attention.sliding_window") ?? 0) === 0) return {};
  const length = keys.count("attention.sliding_window");
  if (architecture !== "gemma3") return { window: { length } };
  const ropeTheta = keys.number("rope.freq_base_swa", GEMMA3_LOCAL_THETA);
  return { window: { length, globalEvery: GEMMA3_GLOBAL_EVERY, ropeTheta } };
}

/** Rounded to the nearest bfloat16, as Gemma's embeddings were scaled in training. */
export function bfloat16(value: number): number {
  const bits = new Uint32Array(new Float32Array([value]).buffer);
  const word = bits[0]!;
  bits[0] = (word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(bits.buffer)[0]!;
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
