/**
 * Turns a GGUF file's `tokenizer.*` metadata into the `tokenizer.json` that `@huggingface/tokenizers` reads.
 * Knows byte-level BPE ("gpt2") with its pre-tokenisers, and SentencePiece's BPE ("llama"); refuses the others by name.
 */
import type { TokenizerMetadata } from "../gguf/config.ts";
import { CheckpointError } from "../gguf/error.ts";
import { endTokensOf, type TokenizerDescription } from "./description.ts";
import { PRE_TOKENIZERS } from "./pre-tokenizers.ts";
import { mergesOf, spaceNormalizer } from "./sentencepiece.ts";

const CONTROL_TYPE = 3;
const USER_DEFINED_TYPE = 4;

function fail(key: string, expected: string): never {
  throw new CheckpointError(`GGUF metadata: ${key} must be ${expected}; the file cannot be used as a language model`);
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

/** The parts of `tokenizer.json` that differ between the kinds. */
interface Kind {
  readonly spelling: TokenizerDescription["spelling"];
  readonly normalizer: object | null;
  readonly pretokenizers: readonly object[];
  readonly merges: readonly [string, string][];
  readonly ignoresMerges: boolean;
  readonly addsBos: boolean;
}

function byteLevelKind(metadata: TokenizerMetadata): Kind {
  const pre = metadata["tokenizer.ggml.pre"] ?? "default";
  const preTokenizer = isString(pre) ? PRE_TOKENIZERS.get(pre) : undefined;
  if (preTokenizer === undefined) {
    throw new CheckpointError(
      `pre-tokeniser ${JSON.stringify(pre)} is not supported: known are ${[...PRE_TOKENIZERS.keys()].join(", ")}`,
    );
  }
  return {
    spelling: "byte-level",
    normalizer: preTokenizer.composes === true ? { type: "NFC" } : null,
    pretokenizers: [
      ...preTokenizer.steps,
      { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
    merges: arrayOf(metadata, "tokenizer.ggml.merges", isString, "strings").map(splitMerge),
    ignoresMerges: preTokenizer.ignoresMerges === true,
    addsBos: preTokenizer.addsBos === true,
  };
}

function sentencePieceKind(metadata: TokenizerMetadata, tokens: readonly string[]): Kind {
  const scores = arrayOf(metadata, "tokenizer.ggml.scores", isNumber, "numbers");
  if (scores.length !== tokens.length) fail("tokenizer.ggml.scores", `${tokens.length} numbers, one a token`);
  const ids = new Map(tokens.map((token, id) => [token, id]));
  return {
    spelling: "sentencepiece",
    normalizer: spaceNormalizer(metadata["tokenizer.ggml.add_space_prefix"] !== false),
    pretokenizers: [],
    merges: mergesOf(tokens, scores, ids),
    ignoresMerges: false,
    addsBos: true,
  };
}

/**
 * Reads the description out of the metadata. `stripsAfterControl`: white space behind control tokens belongs to them, as Phi 3 has it.
 * Throws CheckpointError naming the key that is missing, malformed or not supported.
 */
export function describeGgufTokenizer(
  metadata: TokenizerMetadata,
  { stripsAfterControl = false }: { readonly stripsAfterControl?: boolean } = {},
): TokenizerDescription {
  const model = metadata["tokenizer.ggml.model"];
  if (model !== "gpt2" && model !== "llama") {
    throw new CheckpointError(
      `tokenizer model ${JSON.stringify(model ?? null)} is not supported: only byte-level BPE ("gpt2") and SentencePiece's BPE ("llama") are`,
    );
  }
  const tokens = arrayOf(metadata, "tokenizer.ggml.tokens", isString, "strings");
  const kind = model === "gpt2" ? byteLevelKind(metadata) : sentencePieceKind(metadata, tokens);
  const types =
    metadata["tokenizer.ggml.token_type"] === undefined
      ? []
      : arrayOf(metadata, "tokenizer.ggml.token_type", isNumber, "numbers");
  const idsOfType = (type: number): number[] => tokens.flatMap((_, id) => (types[id] === type ? [id] : []));
  const controlTokens = idsOfType(CONTROL_TYPE);
  const literalTokens = idsOfType(USER_DEFINED_TYPE);

  const id = (name: string): number | undefined =>
    optionalId(metadata, `tokenizer.ggml.${name}_token_id`, tokens.length);
  const [bosToken, eosToken] = [id("bos"), id("eos")];
  const control = new Set(controlTokens);
  const template = metadata["tokenizer.chat_template"];
  const addBosToken = metadata["tokenizer.ggml.add_bos_token"] ?? kind.addsBos;
  return {
    tokenizerJson: {
      version: "1.0",
      added_tokens: [...controlTokens, ...literalTokens].map((token) => ({
        id: token,
        content: tokens[token],
        single_word: false,
        lstrip: false,
        rstrip: stripsAfterControl && control.has(token) && token !== bosToken,
        normalized: false,
        special: control.has(token),
      })),
      normalizer: kind.normalizer,
      pre_tokenizer: { type: "Sequence", pretokenizers: kind.pretokenizers },
      post_processor: null,
      decoder: null,
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: kind.spelling === "sentencepiece",
        ignore_merges: kind.ignoresMerges,
        vocab: Object.fromEntries(tokens.map((token, index) => [token, index])),
        merges: kind.merges,
      },
    },
    spelling: kind.spelling,
    tokens,
    controlTokens,
    literalTokens,
    endTokens: endTokensOf([eosToken, id("eot"), id("eom")], tokens, controlTokens),
    bosToken,
    eosToken,
    addBosToken: addBosToken === true,
    chatTemplate: isString(template) ? template : undefined,
  };
}
