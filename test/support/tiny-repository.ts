/** A tiny model as a safetensors repository, as the Transformers library saves it; and a folder of files in memory. */
import { bytesOfToken } from "../../engine/tokenizer/byte-level.ts";
import { sourceOfBytes } from "../../engine/gguf/source.ts";
import type { DecoderWeights } from "../../engine/reference/decoder.ts";
import type { RepositoryFiles } from "../../engine/safetensors/files.ts";
import type { ModelConfig } from "../../engine/types.ts";
import { drawTinyModel, type TinyKind, tinyWeights } from "./tiny-model.ts";
import { CHAT_TEMPLATE, CONTROL_TOKENS, trainVocabulary } from "./tiny-tokenizer.ts";

export interface NamedTensor {
  readonly name: string;
  readonly type: "F32" | "F16" | "BF16";
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** The bytes of a safetensors file. */
export function writeSafetensors(
  tensors: readonly NamedTensor[],
  change: (header: Record<string, unknown>) => void = () => {},
): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let at = 0;
  for (const { name, type, shape, bytes } of tensors) {
    header[name] = { dtype: type, shape, data_offsets: [at, at + bytes.length] };
    at += bytes.length;
  }
  change(header);
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return new Uint8Array(Buffer.concat([length, json, ...tensors.map(({ bytes }) => bytes)]));
}

export const filesOf = (contents: ReadonlyMap<string, Uint8Array>): RepositoryFiles => ({
  open: async (name) => {
    const bytes = contents.get(name);
    return bytes && sourceOfBytes(bytes);
  },
});

export interface TinyRepository {
  readonly contents: Map<string, Uint8Array>;
  readonly config: ModelConfig;
  readonly weights: DecoderWeights;
}

const CLASSES: Readonly<Record<TinyKind, string>> = {
  llama: "LlamaForCausalLM",
  llama3: "LlamaForCausalLM",
  qwen2: "Qwen2ForCausalLM",
  qwen3: "Qwen3ForCausalLM",
  gemma3: "Gemma3ForCausalLM",
  phi3: "Phi3ForCausalLM",
  yarn: "Qwen2ForCausalLM",
  longrope: "Phi3ForCausalLM",
  shortrope: "Phi3ForCausalLM",
  phi4: "Phi3ForCausalLM",
  partial: "LlamaForCausalLM",
};

/** The library's names of what GGUF calls by other ones. */
const IN_LAYER: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

const json = (value: unknown): Uint8Array => new Uint8Array(Buffer.from(JSON.stringify(value)));

/** Makes the repository; with `shards` above one, an index and that many files. */
export function makeTinyRepository(
  kind: TinyKind,
  { shards = 1, type = "F32" as NamedTensor["type"] } = {},
): TinyRepository {
  const { config, tensors } = drawTinyModel(kind, 1);
  const isGemma = kind === "gemma3";
  const stored = new Map<string, Float32Array>();
  const named = tensors.map(({ name, shape, values }): NamedTensor => {
    const around = isGemma && name.endsWith("norm.weight") ? values.map((value) => value - 1) : values;
    const { bytes, meant } = store(around, type);
    stored.set(name, around === values ? meant : meant.map((value) => value + 1));
    return { name: libraryName(name, isGemma), type, shape, bytes };
  });
  const all = config.architecture === "phi3" ? fuse(named) : named;
  const contents = new Map([
    ["config.json", json(configOf(kind, config))],
    ...tokenizerFiles(config.vocabulary),
    ...weightFiles(all, shards),
  ]);
  return { contents, config, weights: tinyWeights(config, stored, "halves") };
}

function store(values: Float32Array, type: NamedTensor["type"]): { bytes: Uint8Array; meant: Float32Array } {
  if (type === "F32")
    return { bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength), meant: values };
  const bytes = new Uint8Array(values.length * 2);
  const view = new DataView(bytes.buffer);
  const word = new DataView(new ArrayBuffer(4));
  const meant = values.map((value, i) => {
    if (type === "F16") {
      view.setFloat16(2 * i, value, true);
      return view.getFloat16(2 * i, true);
    }
    word.setFloat32(0, value);
    const upper = word.getUint16(0);
    view.setUint16(2 * i, upper, true);
    word.setUint32(0, upper << 16);
    return word.getFloat32(0);
  });
  return { bytes, meant };
}

function libraryName(name: string, isGemma: boolean): string {
  const outside = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
  }[name];
  if (outside !== undefined) return outside;
  const [, layer, part, kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name)!;
  const norms: Record<string, string> = isGemma
    ? {
        post_attention_norm: "post_attention_layernorm",
        ffn_norm: "pre_feedforward_layernorm",
        post_ffw_norm: "post_feedforward_layernorm",
      }
    : { ffn_norm: "post_attention_layernorm" };
  return `model.layers.${layer}.${norms[part!] ?? IN_LAYER[part!]}.${kind}`;
}

function fuse(tensors: readonly NamedTensor[]): NamedTensor[] {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const joined = (name: string, parts: readonly string[]): NamedTensor => {
    const members = parts.map((part) => byName.get(part)!);
    const rows = members.reduce((sum, { shape }) => sum + shape[0]!, 0);
    const bytes = new Uint8Array(Buffer.concat(members.map((member) => member.bytes)));
    return { ...members[0]!, name, shape: [rows, members[0]!.shape[1]!], bytes };
  };
  return tensors.flatMap((tensor) => {
    const [, layer, part] =
      /^(model\.layers\.\d+)\.(self_attn\.[qkv]_proj|mlp\.gate_proj|mlp\.up_proj)\.weight$/.exec(tensor.name) ?? [];
    if (part === "self_attn.q_proj")
      return [
        joined(
          `${layer}.self_attn.qkv_proj.weight`,
          ["q", "k", "v"].map((x) => `${layer}.self_attn.${x}_proj.weight`),
        ),
      ];
    if (part === "mlp.gate_proj")
      return [
        joined(
          `${layer}.mlp.gate_up_proj.weight`,
          ["gate", "up"].map((x) => `${layer}.mlp.${x}_proj.weight`),
        ),
      ];
    return part === undefined ? [tensor] : [];
  });
}

/** config.json, with the keys and the padding of real ones. */
function configOf(kind: TinyKind, config: ModelConfig): Record<string, unknown> {
  const { window } = config;
  return {
    architectures: [CLASSES[kind]],
    hidden_size: config.embedding,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    intermediate_size: config.feedForward,
    vocab_size: config.vocabulary,
    max_position_embeddings: config.contextLength,
    rms_norm_eps: config.normEpsilon,
    rope_theta: config.ropeTheta,
    tie_word_embeddings: kind === "gemma3",
    torch_dtype: "float32",
    ...(kind === "yarn" && {
      rope_scaling: { type: "yarn", factor: 4, original_max_position_embeddings: 128 },
    }),
    ...(config.ropeDim && { partial_rotary_factor: config.ropeDim / config.headDim }),
    ...(config.longRope && {
      original_max_position_embeddings: config.longRope.original,
      rope_scaling: {
        type: "longrope",
        short_factor: config.longRope.short,
        long_factor: config.longRope.long,
        ...(kind === "shortrope" && { attention_factor: config.ropeScale }),
      },
    }),
    ...(kind === "qwen2" || kind === "qwen3"
      ? { sliding_window: 4096, use_sliding_window: false, hidden_act: "silu" }
      : {}),
    ...(kind === "phi3" && { sliding_window: window!.length, rope_scaling: null }),
    ...(kind === "gemma3" && {
      sliding_window: window!.length,
      rope_local_base_freq: window!.ropeTheta,
      rope_scaling: { factor: config.ropeFactors![0], rope_type: "linear" },
      query_pre_attn_scalar: config.headDim,
      hidden_activation: "gelu_pytorch_tanh",
      final_logit_softcapping: null,
      eos_token_id: [510, 511],
    }),
  };
}

function tokenizerFiles(vocabulary: number): [string, Uint8Array][] {
  const { tokens, merges } = trainVocabulary(vocabulary);
  const first = vocabulary - CONTROL_TOKENS.length;
  const tokenizer = {
    version: "1.0",
    added_tokens: CONTROL_TOKENS.map((content, i) => ({
      id: first + i,
      content,
      special: true,
      normalized: false,
      lstrip: false,
      rstrip: false,
      single_word: false,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Digits", individual_digits: true },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: { type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      vocab: Object.fromEntries(
        tokens.flatMap((token, id) => (bytesOfToken(token) && id < first ? [[token, id]] : [])),
      ),
      merges,
    },
  };
  return [
    ["tokenizer.json", json(tokenizer)],
    [
      "tokenizer_config.json",
      json({ bos_token: "<|im_start|>", eos_token: { content: "<|im_end|>" }, chat_template: CHAT_TEMPLATE }),
    ],
    ["generation_config.json", json({ eos_token_id: 511 })],
  ];
}

function weightFiles(tensors: readonly NamedTensor[], shards: number): [string, Uint8Array][] {
  if (shards === 1) return [["model.safetensors", writeSafetensors(tensors)]];
  const shardOf = (i: number): string => `model-0000${(i % shards) + 1}-of-0000${shards}.safetensors`;
  const index = { metadata: {}, weight_map: Object.fromEntries(tensors.map(({ name }, i) => [name, shardOf(i)])) };
  return [
    ["model.safetensors.index.json", json(index)],
    ...Array.from({ length: shards }, (_, shard): [string, Uint8Array] => [
      shardOf(shard),
      writeSafetensors(tensors.filter((__, i) => i % shards === shard)),
    ]),
  ];
}
