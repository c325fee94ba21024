/** A repository's config.json as hyper-parameters. Knows the keys of the Transformers library, versions 4 and 5; no tensors. */
import { CheckpointError } from "../gguf/error.ts";
import { bfloat16 } from "../gguf/config.ts";
import type { ArchitectureName, AttentionWindow, ModelConfig } from "../types.ts";
import { countOf, isRecord, type JsonRecord, numberOf } from "./json.ts";
import { ropeOf } from "./rope.ts";

const ARCHITECTURE_OF_CLASS: Readonly<Record<string, ArchitectureName>> = {
  LlamaForCausalLM: "llama",
  MistralForCausalLM: "llama",
  Qwen2ForCausalLM: "qwen2",
  Qwen3ForCausalLM: "qwen3",
  Gemma3ForCausalLM: "gemma3",
  Phi3ForCausalLM: "phi3",
};

/** What the library takes where config.json is silent. */
const HEAD_DIM: Partial<Record<ArchitectureName, number>> = { qwen3: 128, gemma3: 256 };
const ACTIVATION: Readonly<Record<ArchitectureName, string>> = {
  llama: "silu",
  qwen2: "silu",
  qwen3: "silu",
  phi3: "silu",
  gemma3: "gelu_pytorch_tanh",
};
const GEMMA3_GLOBAL_EVERY = 6;

/** Switches that change the computation and can't be run. */
const UNSUPPORTED = [
  ["quantization_config", "a quantised repository"],
  ["attention_bias", "a bias of attention"],
  ["mlp_bias", "a bias of the feed-forward layers"],
  ["attn_logit_softcapping", "soft capping of attention scores"],
  ["final_logit_softcapping", "soft capping of logits"],
  ["use_bidirectional_attention", "attention in both directions"],
  ["use_sliding_window", "a sliding window in some layers"],
  ["num_local_experts", "a mixture of experts"],
] as const;

/** Throws CheckpointError where a key is missing or nonsense, or where the model needs what the emitter doesn't have, by its name. */
export function readRepositoryConfig(config: JsonRecord): ModelConfig {
  const architecture = architectureOf(config);
  for (const [key, what] of UNSUPPORTED) {
    const value = config[key];
    if (value !== undefined && value !== null && value !== false && value !== 0)
      throw new CheckpointError(
        `${what} (config.json: ${key} = ${JSON.stringify(value).slice(0, 200)}) is not supported`,
      );
  }
  const activation = config["hidden_activation"] ?? config["hidden_act"] ?? ACTIVATION[architecture];
  if (activation !== ACTIVATION[architecture])
    throw new CheckpointError(
      `the activation ${JSON.stringify(activation)} is not supported in ${architecture} models`,
    );

  const heads = countOf(config, "num_attention_heads");
  const embedding = countOf(config, "hidden_size");
  const headDim = countOf(config, "head_dim", HEAD_DIM[architecture] ?? embedding / heads);
  const kvHeads = countOf(config, "num_key_value_heads", heads);
  if (headDim % 2 !== 0 || heads % kvHeads !== 0)
    throw new CheckpointError(
      `config.json: ${heads} heads of ${headDim} with ${kvHeads} key-value heads don't fit together`,
    );
  const scalar = config["query_pre_attn_scalar"];
  return {
    architecture,
    layers: countOf(config, "num_hidden_layers"),
    heads,
    kvHeads,
    headDim,
    embedding,
    feedForward: countOf(config, "intermediate_size"),
    vocabulary: countOf(config, "vocab_size"),
    contextLength: countOf(config, "max_position_embeddings"),
    normEpsilon: numberOf(config, "rms_norm_eps", 1e-6),
    ...ropeOf(config, architecture, headDim, architecture === "gemma3" ? 1_000_000 : 10_000),
    ...windowOf(config, architecture),
    ...(architecture === "gemma3" && { embeddingScale: bfloat16(Math.sqrt(embedding)) }),
    ...(scalar !== undefined &&
      scalar !== headDim && { attentionScale: numberOf(config, "query_pre_attn_scalar") ** -0.5 }),
  };
}

function architectureOf(config: JsonRecord): ArchitectureName {
  const classes = config["architectures"];
  const name: unknown = Array.isArray(classes) ? classes[0] : undefined;
  const architecture =
    typeof name === "string" && Object.hasOwn(ARCHITECTURE_OF_CLASS, name) ? ARCHITECTURE_OF_CLASS[name] : undefined;
  if (architecture === undefined) {
    throw new CheckpointError(
      `the model's architecture ${JSON.stringify(name ?? config["model_type"] ?? null)} is not supported; supported are ${Object.keys(ARCHITECTURE_OF_CLASS).join(", ")}`,
    );
  }
  return architecture;
}

function windowOf(config: JsonRecord, architecture: ArchitectureName): { window?: AttentionWindow } {
  // Qwen's files name a window that use_sliding_window switches off.
  if (config["sliding_window"] === undefined || config["sliding_window"] === null || architecture.startsWith("qwen"))
    return {};
  const length = countOf(config, "sliding_window");
  if (architecture !== "gemma3") return { window: { length } };
  const local = config["rope_parameters"];
  const own = isRecord(local) && isRecord(local["sliding_attention"]) ? local["sliding_attention"] : {};
  const ropeTheta = numberOf(own, "rope_theta", numberOf(config, "rope_local_base_freq", 10_000));
  return { window: { length, globalEvery: globalEvery(config), ropeTheta } };
}

/** Gemma's pattern: five layers with the window, one without. */
function globalEvery(config: JsonRecord): number {
  const types = config["layer_types"];
  if (!Array.isArray(types)) return countOf(config, "sliding_window_pattern", GEMMA3_GLOBAL_EVERY);
  const first = types.indexOf("full_attention");
  const every = first < 0 ? GEMMA3_GLOBAL_EVERY : first + 1;
  const isRegular = types.every(
    (type, layer) => type === ((layer + 1) % every === 0 ? "full_attention" : "sliding_attention"),
  );
  if (!isRegular) throw new CheckpointError("config.json: layer_types has no regular pattern, which is not supported");
  return every;
}
