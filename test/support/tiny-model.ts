/**
 * Seeded random decoders, small enough for any test: values of every tensor under GGUF's names, and the plain tensors of the f32 oracle
 * made from what a file stores of them. They babble printable ASCII where the head is a matrix of its own, and never end a turn by themselves.
 */
import { prf } from "../../engine/prf.ts";
import type { DecoderWeights, LayerWeights } from "../../engine/reference/decoder.ts";
import { bytesOfToken } from "../../engine/tokenizer/byte-level.ts";
import ropeTables from "../fixtures/rope-tables.json" with { type: "json" };
import type { ModelConfig } from "../../engine/types.ts";
import { CONTROL_TOKENS, trainVocabulary } from "./tiny-tokenizer.ts";

const LLAMA: ModelConfig = {
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

/** Llama 3's stretched frequencies: fast ones stay, slow ones turn eight times slower, those between in between. */
const STRETCHED = [1, 1, 1, 1, 1.5, 3, 6, 8];

/** From the fixture, which knows nothing of the engine: factors that stretch each pair's pace. */
const YARN = ropeTables.cases[0]!;
function factorsOf({ paces, headDim, theta }: { paces: number[]; headDim: number; theta: number }): number[] {
  return paces.map((pace, pair) => theta ** ((-2 * pair) / headDim) / pace);
}
function longRope(original: number, part = ""): Pick<ModelConfig, "longRope" | "ropeScale"> {
  const [short, long] = ["short", "long"].map((kind) => ropeTables.cases.find(({ name }) => name === part + kind)!);
  return { longRope: { original, short: short!.factors!, long: long!.factors! }, ropeScale: long!.scale };
}

export const TINY_CONFIGS = {
  llama: LLAMA,
  llama3: { ...LLAMA, ropeTheta: 100, ropeFactors: STRETCHED },
  qwen2: { ...LLAMA, architecture: "qwen2", normEpsilon: 1e-6 },
  qwen3: { ...LLAMA, architecture: "qwen3", headDim: 32, normEpsilon: 1e-6 },
  gemma3: {
    ...LLAMA,
    architecture: "gemma3",
    layers: 7,
    kvHeads: 1,
    headDim: 32,
    ropeTheta: 1_000_000,
    normEpsilon: 1e-6,
    ropeFactors: Array.from({ length: 16 }, () => 8),
    embeddingScale: 8,
    window: { length: 24, globalEvery: 6, ropeTheta: 10_000 },
  },
  phi3: { ...LLAMA, architecture: "phi3", kvHeads: 4, window: { length: 40 } },
  yarn: { ...LLAMA, architecture: "qwen2", ropeFactors: factorsOf(YARN), ropeScale: YARN.scale },
  // In slots of 112 tokens one has the long factors, the other the short ones.
  longrope: { ...LLAMA, architecture: "phi3", kvHeads: 4, ...longRope(64) },
  shortrope: { ...LLAMA, architecture: "phi3", kvHeads: 4, ...longRope(128) },
  // Three quarters of a head turn, as Phi 4 mini has it; and half of one with pairs side by side.
  phi4: { ...LLAMA, architecture: "phi3", ropeDim: 12, ...longRope(64, "part-") },
  partial: { ...LLAMA, ropeDim: 8 },
} as const satisfies Record<string, ModelConfig>;

export type TinyKind = keyof typeof TINY_CONFIGS;

/** Spread of the logits: large enough that the two best tokens are rarely close. */
const LOGIT_DEVIATION = 4;
/** Gain of the layers' matrices: large enough that the context, not only the last token, decides what comes next. */
const LAYER_GAIN = 1.6;
/** Gain of norms of branches, so that a branch counts beside scaled embeddings. */
const BRANCH_GAIN = 5;

export interface TinyTensor {
  /** As GGUF calls it. */
  readonly name: string;
  readonly kind: "matrix" | "table" | "vector";
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** Draws a model's tensors; equal arguments give equal values. */
export function drawTinyModel(
  kind: TinyKind,
  seed: number,
): { readonly config: ModelConfig; readonly tensors: readonly TinyTensor[] } {
  const config: ModelConfig = TINY_CONFIGS[kind];
  const { layers, heads, kvHeads, headDim, embedding, feedForward, vocabulary, architecture } = config;
  const tensors: TinyTensor[] = [];
  let drawn = 0;

  /** Normal deviate by Box and Muller (1958). */
  const normal = (): number =>
    Math.sqrt(-2 * Math.log(1 - prf(seed, drawn++))) * Math.cos(2 * Math.PI * prf(seed, drawn++));
  const matrix = (name: string, rows: number, columns: number): void => {
    const values = Float32Array.from({ length: rows * columns }, () => (normal() * LAYER_GAIN) / Math.sqrt(columns));
    tensors.push({ name, kind: "matrix", shape: [rows, columns], values });
  };
  const vector = (name: string, size: number, mean: number, gain = 1): void => {
    const values = Float32Array.from({ length: size }, () => gain * (mean + 0.1 * normal()));
    tensors.push({ name, kind: "vector", shape: [size], values });
  };
  const table = (name: string, deviation: number, keep: (token: number) => boolean): void => {
    const values = Float32Array.from({ length: vocabulary * embedding }, () => normal() * deviation);
    for (let token = 0; token < vocabulary; token++) {
      if (!keep(token)) values.fill(0, token * embedding, (token + 1) * embedding);
    }
    tensors.push({ name, kind: "table", shape: [vocabulary, embedding], values });
  };

  const isGemma = architecture === "gemma3";
  table("token_embd.weight", 1, () => true);
  for (let layer = 0; layer < layers; layer++) {
    const blk = (part: string): string => `blk.${layer}.${part}`;
    vector(blk("attn_norm.weight"), embedding, 1);
    for (const [part, rows] of [
      ["attn_q", heads * headDim],
      ["attn_k", kvHeads * headDim],
      ["attn_v", kvHeads * headDim],
    ] as const) {
      matrix(blk(`${part}.weight`), rows, embedding);
      if (architecture === "qwen2") vector(blk(`${part}.bias`), rows, 0, 3);
    }
    if (architecture === "qwen3" || isGemma) {
      vector(blk("attn_q_norm.weight"), headDim, 1, 1.5);
      vector(blk("attn_k_norm.weight"), headDim, 1, 1.5);
    }
    matrix(blk("attn_output.weight"), embedding, heads * headDim);
    if (isGemma) vector(blk("post_attention_norm.weight"), embedding, 1, BRANCH_GAIN);
    vector(blk("ffn_norm.weight"), embedding, 1);
    matrix(blk("ffn_gate.weight"), feedForward, embedding);
    matrix(blk("ffn_up.weight"), feedForward, embedding);
    matrix(blk("ffn_down.weight"), embedding, feedForward);
    if (isGemma) vector(blk("post_ffw_norm.weight"), embedding, 1, BRANCH_GAIN);
  }
  vector("output_norm.weight", embedding, 1);
  if (!isGemma) table("output.weight", LOGIT_DEVIATION / Math.sqrt(embedding), isPrintable(vocabulary));
  return { config, tensors };
}

function isPrintable(vocabulary: number): (token: number) => boolean {
  const { tokens } = trainVocabulary(vocabulary);
  return (token) => {
    const bytes = token < vocabulary - CONTROL_TOKENS.length ? bytesOfToken(tokens[token]!) : undefined;
    return bytes !== undefined && bytes.every((byte) => byte >= 0x20 && byte <= 0x7e);
  };
}

/** The oracle's tensors, from what a file stores under each of GGUF's names. */
export function tinyWeights(
  { layers }: ModelConfig,
  stored: ReadonlyMap<string, Float32Array>,
  rotaryPairs: DecoderWeights["rotaryPairs"],
): DecoderWeights {
  const get = (name: string): Float32Array => stored.get(name)!;
  return {
    rotaryPairs,
    embedding: get("token_embd.weight"),
    layers: Array.from({ length: layers }, (_, layer): LayerWeights => {
      const blk = (part: string): Float32Array => get(`blk.${layer}.${part}`);
      return {
        attentionNorm: blk("attn_norm.weight"),
        query: blk("attn_q.weight"),
        key: blk("attn_k.weight"),
        value: blk("attn_v.weight"),
        queryBias: blk("attn_q.bias"),
        keyBias: blk("attn_k.bias"),
        valueBias: blk("attn_v.bias"),
        queryNorm: blk("attn_q_norm.weight"),
        keyNorm: blk("attn_k_norm.weight"),
        output: blk("attn_output.weight"),
        attentionPostNorm: blk("post_attention_norm.weight"),
        feedForwardNorm: blk("ffn_norm.weight"),
        gate: blk("ffn_gate.weight"),
        up: blk("ffn_up.weight"),
        down: blk("ffn_down.weight"),
        feedForwardPostNorm: blk("post_ffw_norm.weight"),
      };
    }),
    outputNorm: get("output_norm.weight"),
    head: stored.get("output.weight") ?? get("token_embd.weight"),
  };
}
