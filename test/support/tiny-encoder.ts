/** A tiny random BERT as a sentence-transformers repository, with a WordPiece tokenizer over letters. */
import { prf } from "../../engine/prf.ts";
import { type NamedTensor, writeSafetensors } from "./tiny-repository.ts";

export const TINY_ENCODER = { layers: 2, heads: 4, embedding: 64, feedForward: 128, positions: 40, normEpsilon: 1e-12 };

const WORDS = ["the", "river", "a", "stone", "##s", "##a", "##b", "b", "mesh", "gpu", ",", "."];
const TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ...WORDS];

export interface TinyEncoder {
  readonly contents: Map<string, Uint8Array>;
  readonly weights: ReadonlyMap<string, Float32Array>;
}

export function makeTinyEncoder(): TinyEncoder {
  const { layers, embedding, feedForward, positions } = TINY_ENCODER;
  const weights = new Map<string, Float32Array>();
  const tensors: NamedTensor[] = [];
  let drawn = 0;
  const draw = (name: string, shape: readonly number[], mean: number, spread: number): void => {
    const length = shape.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length }, () => mean + spread * (2 * prf(9, drawn++) - 1));
    weights.set(name, values);
    tensors.push({ name: `bert.${name}`, type: "F32", shape, bytes: new Uint8Array(values.buffer) });
  };
  const linear = (name: string, rows: number, columns: number): void => {
    draw(`${name}.weight`, [rows, columns], 0, 3 / Math.sqrt(columns));
    draw(`${name}.bias`, [rows], 0, 0.5);
  };
  const norm = (name: string): void => {
    draw(`${name}.weight`, [embedding], 1, 0.3);
    draw(`${name}.bias`, [embedding], 0, 0.3);
  };
  draw("embeddings.word_embeddings.weight", [TOKENS.length, embedding], 0, 1);
  draw("embeddings.position_embeddings.weight", [positions, embedding], 0, 0.5);
  draw("embeddings.token_type_embeddings.weight", [2, embedding], 0, 0.5);
  norm("embeddings.LayerNorm");
  for (let layer = 0; layer < layers; layer++) {
    const at = (part: string): string => `encoder.layer.${layer}.${part}`;
    for (const part of ["query", "key", "value"]) linear(at(`attention.self.${part}`), embedding, embedding);
    linear(at("attention.output.dense"), embedding, embedding);
    norm(at("attention.output.LayerNorm"));
    linear(at("intermediate.dense"), feedForward, embedding);
    linear(at("output.dense"), embedding, feedForward);
    norm(at("output.LayerNorm"));
  }
  linear("pooler.dense", embedding, embedding);
  const files = {
    "config.json": configFile(),
    "tokenizer.json": tokenizerFile(),
    "1_Pooling/config.json": { pooling_mode_mean_tokens: true, pooling_mode_cls_token: false },
    "modules.json": [{ type: "sentence_transformers.models.Normalize" }],
    "sentence_bert_config.json": { max_seq_length: 24 },
  };
  const contents = new Map<string, Uint8Array>(
    Object.entries(files).map(([name, value]) => [name, new Uint8Array(Buffer.from(JSON.stringify(value)))]),
  );
  contents.set("model.safetensors", writeSafetensors(tensors));
  return { contents, weights };
}

function configFile(): object {
  const { layers, heads, embedding, feedForward, positions, normEpsilon } = TINY_ENCODER;
  return {
    architectures: ["BertModel"],
    hidden_act: "gelu",
    hidden_size: embedding,
    intermediate_size: feedForward,
    layer_norm_eps: normEpsilon,
    max_position_embeddings: positions,
    num_attention_heads: heads,
    num_hidden_layers: layers,
    type_vocab_size: 2,
    vocab_size: TOKENS.length,
  };
}

function tokenizerFile(): object {
  const special = (id: string): object => ({ SpecialToken: { id, type_id: 0 } });
  return {
    version: "1.0",
    truncation: { max_length: 8, strategy: "LongestFirst", stride: 0 },
    padding: { strategy: { Fixed: 8 }, direction: "Right", pad_id: 0, pad_type_id: 0, pad_token: "[PAD]" },
    added_tokens: TOKENS.slice(0, 4).map((content, id) => ({
      id,
      content,
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    })),
    normalizer: {
      type: "BertNormalizer",
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: {
      type: "TemplateProcessing",
      single: [special("[CLS]"), { Sequence: { id: "A", type_id: 0 } }, special("[SEP]")],
      pair: [
        special("[CLS]"),
        { Sequence: { id: "A", type_id: 0 } },
        special("[SEP]"),
        { Sequence: { id: "B", type_id: 1 } },
        special("[SEP]"),
      ],
      special_tokens: Object.fromEntries(
        ["[CLS]", "[SEP]"].map((id) => [id, { id, ids: [TOKENS.indexOf(id)], tokens: [id] }]),
      ),
    },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(TOKENS.map((token, id) => [token, id])),
    },
  };
}
