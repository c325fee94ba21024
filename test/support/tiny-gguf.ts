/**
 * A seeded random llama checkpoint, small enough for any test: real GGUF bytes with a tokenizer and a chat template, and beside
 * them the same weights as plain tensors for the f32 oracle. It babbles printable ASCII and never ends a turn by itself.
 */
import { prf } from "../../engine/prf.ts";
import type { LlamaLayerWeights, LlamaWeights } from "../../engine/reference/llama.ts";
import { bytesOfToken } from "../../engine/tokenizer/byte-level.ts";
import type { ModelConfig } from "../../engine/types.ts";
import { type GgufFormat, type GgufTensor, type GgufValue, quantise, writeGguf } from "./gguf-writer.ts";
import { CHAT_TEMPLATE, CONTROL_TOKENS, trainVocabulary } from "./tiny-tokenizer.ts";

const CONFIG: ModelConfig = {
  architecture: "llama",
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  embedding: 64,
  feedForward: 192,
  vocabulary: 512,
  contextLength: 512,
  ropeTheta: 10_000,
  normEpsilon: 1e-5,
};

/** Spread of the logits: large enough that the two best tokens are rarely close. */
const LOGIT_DEVIATION = 4;
/** Gain of the layers' matrices: large enough that the context, not only the last token, decides what comes next. */
const LAYER_GAIN = 1.6;

export interface TinyModel {
  /** The whole file. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly config: ModelConfig;
  /** What the file's tensors mean once dequantised. */
  readonly weights: LlamaWeights;
  /** The `tokenizer.*` metadata, as a reader of the file would give it. */
  readonly tokenizerMetadata: Readonly<Record<string, unknown>>;
}

export interface TinyModelOptions {
  readonly seed?: number;
  /** Of matrices; with "Q4_1" embedding and head are Q8_0, as in the files people have. Norms are always F32. */
  readonly format?: GgufFormat;
}

/** Makes the model; equal options give equal bytes. */
export function makeTinyGguf({ seed = 1, format = "F32" }: TinyModelOptions = {}): TinyModel {
  const { layers, heads, kvHeads, headDim, embedding, feedForward, vocabulary } = CONFIG;
  const { tokens, merges } = trainVocabulary(vocabulary);
  const tensors: GgufTensor[] = [];
  let drawn = 0;

  /** Normal deviate by Box and Muller (1958). */
  const normal = (): number =>
    Math.sqrt(-2 * Math.log(1 - prf(seed, drawn++))) * Math.cos(2 * Math.PI * prf(seed, drawn++));

  function add(name: string, shape: readonly number[], format: GgufFormat, values: Float32Array): Float32Array {
    const stored = quantise(values, format);
    tensors.push({ name, shape, format, bytes: stored.bytes });
    return stored.values;
  }
  const matrix = (name: string, rows: number, columns: number, gain: number): Float32Array =>
    add(
      name,
      [rows, columns],
      format,
      Float32Array.from({ length: rows * columns }, () => (normal() * gain) / Math.sqrt(columns)),
    );
  const norm = (name: string): Float32Array =>
    add(
      name,
      [embedding],
      "F32",
      Float32Array.from({ length: embedding }, () => 1 + 0.1 * normal()),
    );
  const table = (name: string, deviation: number, keep: (token: number) => boolean): Float32Array => {
    const values = Float32Array.from({ length: vocabulary * embedding }, () => normal() * deviation);
    for (let token = 0; token < vocabulary; token++) {
      if (!keep(token)) values.fill(0, token * embedding, (token + 1) * embedding);
    }
    return add(name, [vocabulary, embedding], format === "Q4_1" ? "Q8_0" : format, values);
  };
  const isPrintable = (token: number): boolean => {
    const bytes = token < vocabulary - CONTROL_TOKENS.length ? bytesOfToken(tokens[token]!) : undefined;
    return bytes !== undefined && bytes.every((byte) => byte >= 0x20 && byte <= 0x7e);
  };

  const embeddingTable = table("token_embd.weight", 1, () => true);
  const layerWeights = Array.from({ length: layers }, (_, layer): LlamaLayerWeights => {
    const name = (part: string): string => `blk.${layer}.${part}.weight`;
    return {
      attentionNorm: norm(name("attn_norm")),
      query: matrix(name("attn_q"), heads * headDim, embedding, LAYER_GAIN),
      key: matrix(name("attn_k"), kvHeads * headDim, embedding, LAYER_GAIN),
      value: matrix(name("attn_v"), kvHeads * headDim, embedding, LAYER_GAIN),
      output: matrix(name("attn_output"), embedding, heads * headDim, LAYER_GAIN),
      feedForwardNorm: norm(name("ffn_norm")),
      gate: matrix(name("ffn_gate"), feedForward, embedding, LAYER_GAIN),
      up: matrix(name("ffn_up"), feedForward, embedding, LAYER_GAIN),
      down: matrix(name("ffn_down"), embedding, feedForward, LAYER_GAIN),
    };
  });
  const weights: LlamaWeights = {
    embedding: embeddingTable,
    layers: layerWeights,
    outputNorm: norm("output_norm.weight"),
    head: table("output.weight", LOGIT_DEVIATION / Math.sqrt(embedding), isPrintable),
  };

  const controlId = (token: (typeof CONTROL_TOKENS)[number]): number => tokens.indexOf(token);
  const tokenTypes = tokens.map((_, id) => (id < vocabulary - CONTROL_TOKENS.length ? 1 : 3));
  const uint32 = (value: number): GgufValue => ({ kind: "uint32", value });
  const string = (value: string): GgufValue => ({ kind: "string", value });
  const tokenizer: Record<string, GgufValue> = {
    "tokenizer.ggml.model": string("gpt2"),
    "tokenizer.ggml.pre": string("smollm"),
    "tokenizer.ggml.tokens": { kind: "strings", value: tokens },
    "tokenizer.ggml.token_type": { kind: "int32s", value: tokenTypes },
    "tokenizer.ggml.merges": { kind: "strings", value: merges },
    "tokenizer.ggml.bos_token_id": uint32(controlId("<|im_start|>")),
    "tokenizer.ggml.eos_token_id": uint32(controlId("<|im_end|>")),
    "tokenizer.ggml.add_bos_token": { kind: "bool", value: false },
    "tokenizer.chat_template": string(CHAT_TEMPLATE),
  };
  const bytes = writeGguf(
    {
      "general.architecture": string("llama"),
      "general.name": string("tiny-random"),
      "llama.block_count": uint32(layers),
      "llama.context_length": uint32(CONFIG.contextLength),
      "llama.embedding_length": uint32(embedding),
      "llama.feed_forward_length": uint32(feedForward),
      "llama.attention.head_count": uint32(heads),
      "llama.attention.head_count_kv": uint32(kvHeads),
      "llama.attention.layer_norm_rms_epsilon": { kind: "float32", value: CONFIG.normEpsilon },
      "llama.rope.dimension_count": uint32(headDim),
      "llama.rope.freq_base": { kind: "float32", value: CONFIG.ropeTheta },
      "llama.vocab_size": uint32(vocabulary),
      ...tokenizer,
    },
    tensors,
  );
  const tokenizerMetadata = Object.fromEntries(Object.entries(tokenizer).map(([key, entry]) => [key, entry.value]));
  return { bytes, config: CONFIG, weights, tokenizerMetadata };
}
