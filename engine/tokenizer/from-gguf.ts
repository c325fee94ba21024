/**
 * Turns a GGUF file's `tokenizer.*` metadata into the `tokenizer.json` that `@huggingface/tokenizers` reads.
 * Knows byte-level BPE ("gpt2") and its pre-tokenisers; refuses the others by name.
 */

import type { TokenizerMetadata } from "../gguf/config.ts";

/** A tokenizer, described by plain JSON values. */
export interface TokenizerDescription {
  /** The object of a `tokenizer.json` file. */
  readonly tokenizerJson: Readonly<Record<string, unknown>>;
  /** Vocabulary by id, as spelled in the file. */
  readonly tokens: readonly string[];
  /** Ids that steer the model and have no text, such as end of turn. */
  readonly controlTokens: readonly number[];
  /** Ids whose spelling is their text, outside the byte alphabet. */
  readonly literalTokens: readonly number[];
  /** Ids that end an answer. */
  readonly endTokens: readonly number[];
  readonly bosToken: number | undefined;
  readonly eosToken: number | undefined;
  readonly addBosToken: boolean;
  /** Jinja source; undefined for base models. */
  readonly chatTemplate: string | undefined;
}

const CONTROL_TYPE = 3;
const USER_DEFINED_TYPE = 4;

/** Split patterns of llama.cpp's `src/llama-vocab.cpp`. */
const GPT2_SPLIT = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const llama3Split = (digits: string): string =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

const split = (pattern: string): object => ({
  type: "Split",
  pattern: { Regex: pattern },
  behavior: "Isolated",
  invert: false,
});
const singleDigits = { type: "Digits", individual_digits: true };

const PRE_TOKENIZERS: ReadonlyMap<string, readonly object[]> = new Map([
  ["default", [split(GPT2_SPLIT)]],
  ["gpt-2", [split(GPT2_SPLIT)]],
  ["smollm", [singleDigits, split(GPT2_SPLIT)]],
  ["llama-bpe", [split(llama3Split("\\p{N}{1,3}"))]],
  ["qwen2", [split(llama3Split("\\p{N}"))]],
]);

/** Spellings of end-of-turn tokens that a file may have beside its `eos_token_id`. */
const END_OF_TURN = ["<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>"];

function fail(key: string, expected: string): never {
  throw new Error(`GGUF metadata: ${key} must be ${expected}; the file cannot be used as a language model`);
}

function arrayOf<T>(
  metadata: TokenizerMetadata,
  key: string,
  guard: (value: unknown) => value is T,
  what: string,
): readonly T[] {
  const value = metadata[key];
  if (!Array.isArray(value) && !ArrayBuffer.isView(value)) fail(key, `an array of ${what}`);
  const list: unknown[] = Array.from(value as ArrayLike<unknown>);
  if (!list.every(guard)) fail(key, `an array of ${what}`);
  return list as T[];
}

const isString = (value: unknown): value is string => typeof value === "string";
const isNumber = (value: unknown): value is number => typeof value === "number";

function optionalId(metadata: TokenizerMetadata, key: string, vocabulary: number): number | undefined {
  const value = metadata[key];
  if (value === undefined) return undefined;
  if (!isNumber(value) || !Number.isInteger(value) || value < 0 || value >= vocabulary)
    fail(key, `an id below ${vocabulary}`);
  return value;
}

function splitMerge(merge: string): [string, string] {
  const space = merge.indexOf(" ", 1);
  if (space < 0) fail("tokenizer.ggml.merges", `pairs with a space between, not ${JSON.stringify(merge)}`);
  return [merge.slice(0, space), merge.slice(space + 1)];
}

/** Reads the description out of the metadata. Throws naming the key that is missing, malformed or not supported. */
export function describeGgufTokenizer(metadata: TokenizerMetadata): TokenizerDescription {
  const model = metadata["tokenizer.ggml.model"];
  if (model !== "gpt2") {
    throw new Error(`tokenizer model ${JSON.stringify(model)} is not supported: only byte-level BPE ("gpt2") is`);
  }
  const pre = metadata["tokenizer.ggml.pre"] ?? "default";
  const preTokenizer = isString(pre) ? PRE_TOKENIZERS.get(pre) : undefined;
  if (preTokenizer === undefined) {
    throw new Error(
      `pre-tokeniser ${JSON.stringify(pre)} is not supported: known are ${[...PRE_TOKENIZERS.keys()].join(", ")}`,
    );
  }
  const tokens = arrayOf(metadata, "tokenizer.ggml.tokens", isString, "strings");
  const merges = arrayOf(metadata, "tokenizer.ggml.merges", isString, "strings");
  const types =
    metadata["tokenizer.ggml.token_type"] === undefined
      ? []
      : arrayOf(metadata, "tokenizer.ggml.token_type", isNumber, "numbers");
  const idsOfType = (type: number): number[] => tokens.flatMap((_, id) => (types[id] === type ? [id] : []));
  const controlTokens = idsOfType(CONTROL_TYPE);
  const literalTokens = idsOfType(USER_DEFINED_TYPE);

  const id = (name: string): number | undefined =>
    optionalId(metadata, `tokenizer.ggml.${name}_token_id`, tokens.length);
  const eosToken = id("eos");
  const control = new Set(controlTokens);
  const endTokens = new Set([eosToken, id("eot"), id("eom")].filter((token) => token !== undefined));
  for (const spelling of END_OF_TURN) {
    const token = tokens.indexOf(spelling);
    if (control.has(token)) endTokens.add(token);
  }
  const template = metadata["tokenizer.chat_template"];
  return {
    tokenizerJson: {
      version: "1.0",
      added_tokens: [...controlTokens, ...literalTokens].map((token) => ({
        id: token,
        content: tokens[token],
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: control.has(token),
      })),
      normalizer: null,
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          ...preTokenizer,
          { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
        ],
      },
      post_processor: null,
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab: Object.fromEntries(tokens.map((token, index) => [token, index])),
        merges: merges.map(splitMerge),
      },
    },
    tokens,
    controlTokens,
    literalTokens,
    endTokens: [...endTokens],
    bosToken: id("bos"),
    eosToken,
    addBosToken: metadata["tokenizer.ggml.add_bos_token"] === true,
    chatTemplate: isString(template) ? template : undefined,
  };
}
