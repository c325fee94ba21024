/**
 * A tiny model as a GGUF file: real bytes with a tokenizer and a chat template, as llama.cpp's converter would write them, and beside
 * them the same weights as plain tensors for the f32 oracle.
 */
import type { DecoderWeights } from "../../engine/reference/decoder.ts";
import type { ModelConfig } from "../../engine/types.ts";
import { type GgufFormat, type GgufTensor, type GgufValue, quantise, writeGguf } from "./gguf-writer.ts";
import { drawTinyModel, type TinyKind, tinyWeights } from "./tiny-model.ts";
import { CHAT_TEMPLATE, CONTROL_TOKENS, trainVocabulary } from "./tiny-tokenizer.ts";

export interface TinyModel {
  /** The whole file. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly config: ModelConfig;
  /** What the file's tensors mean once dequantised. */
  readonly weights: DecoderWeights;
  /** The `tokenizer.*` metadata, as a reader of the file would give it. */
  readonly tokenizerMetadata: Readonly<Record<string, unknown>>;
}

export interface TinyModelOptions {
  readonly seed?: number;
  /** Of matrices; with four bits embedding and head are Q8_0, as in the files people have. Vectors are always F32. */
  readonly format?: GgufFormat;
  readonly kind?: TinyKind;
  readonly chatTemplate?: string;
}

const uint32 = (value: number): GgufValue => ({ kind: "uint32", value });
const float32 = (value: number): GgufValue => ({ kind: "float32", value });
const string = (value: string): GgufValue => ({ kind: "string", value });

/** Makes the model; equal options give equal bytes. */
export function makeTinyGguf({
  seed = 1,
  format = "F32",
  kind = "llama",
  chatTemplate = CHAT_TEMPLATE,
}: TinyModelOptions = {}): TinyModel {
  const { config, tensors } = drawTinyModel(kind, seed);
  const stored = new Map<string, Float32Array>();
  const written = tensors.map(({ name, kind, shape, values }): GgufTensor => {
    const own = kind === "vector" ? "F32" : kind === "table" && format.startsWith("Q4") ? "Q8_0" : format;
    const { bytes, values: meant } = quantise(values, own);
    stored.set(name, meant);
    return { name, shape, format: own, bytes };
  });
  const rotaryPairs = config.architecture === "llama" ? "neighbours" : "halves";
  const tokenizer = tokenizerEntries(config.vocabulary, chatTemplate);
  const bytes = writeGguf({ ...modelEntries(kind, config), ...tokenizer }, [
    ...(config.architecture === "phi3" ? fused(written) : written),
    ...(kind === "llama3" ? [factors("rope_freqs.weight", config.ropeFactors!)] : []),
    ...(config.longRope
      ? (["short", "long"] as const).map((which) => factors(`rope_factors_${which}.weight`, config.longRope![which]!))
      : []),
  ]);
  const tokenizerMetadata = Object.fromEntries(Object.entries(tokenizer).map(([key, entry]) => [key, entry.value]));
  return { bytes, config, weights: tinyWeights(config, stored, rotaryPairs), tokenizerMetadata };
}

function modelEntries(kind: TinyKind, config: ModelConfig): Record<string, GgufValue> {
  const { architecture, window, ropeFactors } = config;
  const entries: Record<string, GgufValue> = {
    block_count: uint32(config.layers),
    context_length: uint32(config.contextLength),
    embedding_length: uint32(config.embedding),
    feed_forward_length: uint32(config.feedForward),
    "attention.head_count": uint32(config.heads),
    "attention.head_count_kv": uint32(config.kvHeads),
    "attention.layer_norm_rms_epsilon": float32(config.normEpsilon),
    "rope.freq_base": float32(config.ropeTheta),
    vocab_size: uint32(config.vocabulary),
    ...(config.headDim * config.heads === config.embedding
      ? { "rope.dimension_count": uint32(config.ropeDim ?? config.headDim) }
      : { "attention.key_length": uint32(config.headDim), "attention.value_length": uint32(config.headDim) }),
    ...(window && { "attention.sliding_window": uint32(window.length) }),
    ...(kind === "yarn" && {
      "rope.scaling.type": string("yarn"),
      "rope.scaling.factor": float32(4),
      "rope.scaling.original_context_length": uint32(128),
    }),
    ...(config.longRope && {
      "rope.scaling.original_context_length": uint32(config.longRope.original),
      "rope.scaling.attn_factor": float32(config.ropeScale!),
    }),
    ...(kind === "gemma3" && {
      "rope.scaling.type": string("linear"),
      "rope.scaling.factor": float32(ropeFactors![0]!),
    }),
  };
  return {
    "general.architecture": string(architecture),
    "general.name": string("tiny-random"),
    ...Object.fromEntries(Object.entries(entries).map(([key, value]) => [`${architecture}.${key}`, value])),
  };
}

function tokenizerEntries(vocabulary: number, chatTemplate: string): Record<string, GgufValue> {
  const { tokens, merges } = trainVocabulary(vocabulary);
  const controlId = (token: (typeof CONTROL_TOKENS)[number]): number => tokens.indexOf(token);
  const tokenTypes = tokens.map((_, id) => (id < vocabulary - CONTROL_TOKENS.length ? 1 : 3));
  return {
    "tokenizer.ggml.model": string("gpt2"),
    "tokenizer.ggml.pre": string("smollm"),
    "tokenizer.ggml.tokens": { kind: "strings", value: tokens },
    "tokenizer.ggml.token_type": { kind: "int32s", value: tokenTypes },
    "tokenizer.ggml.merges": { kind: "strings", value: merges },
    "tokenizer.ggml.bos_token_id": uint32(controlId("<|im_start|>")),
    "tokenizer.ggml.eos_token_id": uint32(controlId("<|im_end|>")),
    "tokenizer.ggml.add_bos_token": { kind: "bool", value: false },
    "tokenizer.chat_template": string(chatTemplate),
  };
}

/** Phi's files have one matrix for queries, keys and values, and one for gate and up. */
function fused(tensors: readonly GgufTensor[]): GgufTensor[] {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const joined = (name: string, parts: readonly string[]): GgufTensor => {
    const members = parts.map((part) => byName.get(part)!);
    const bytes = new Uint8Array(members.reduce((sum, { bytes }) => sum + bytes.length, 0));
    let at = 0;
    for (const member of members) {
      bytes.set(member.bytes, at);
      at += member.bytes.length;
    }
    const rows = members.reduce((sum, { shape }) => sum + shape[0]!, 0);
    return { ...members[0]!, name, shape: [rows, members[0]!.shape[1]!], bytes };
  };
  return tensors.flatMap((tensor) => {
    const [, block, part] = /^(blk\.\d+)\.(attn_[qkv]|ffn_gate|ffn_up)\.weight$/.exec(tensor.name) ?? [];
    if (part === "attn_q")
      return [
        joined(
          `${block}.attn_qkv.weight`,
          ["q", "k", "v"].map((x) => `${block}.attn_${x}.weight`),
        ),
      ];
    if (part === "ffn_gate")
      return [joined(`${block}.ffn_up.weight`, [`${block}.ffn_gate.weight`, `${block}.ffn_up.weight`])];
    return part === undefined ? [tensor] : [];
  });
}

function factors(name: string, of: readonly number[]): GgufTensor {
  const values = Float32Array.from(of);
  return { name, shape: [values.length], ...quantiseF32(values) };
}

const quantiseF32 = (values: Float32Array): Pick<GgufTensor, "format" | "bytes"> => ({
  format: "F32",
  bytes: quantise(values, "F32").bytes,
});
