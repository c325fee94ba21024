/**
 * How models with byte-level BPE cut text before they merge, by the names that llama.cpp's converter gives. GGUF has the name alone; the patterns
 * are facts of llama.cpp's `src/llama-vocab.cpp`, written as in the models' own tokenizer.json.
 */

import { isRecord } from "../safetensors/json.ts";

const GPT2_SPLIT = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const llama3Split = (digits: string): string =>
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const SEED_SPLIT = `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
/** Words end where capitals begin; contractions may belong to them. */
const casedSplit = (digits: string, contractions: string): string => {
  const [upper, lower] = ["[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"];
  const word = (letters: string): string => `[^\\r\\n\\p{L}\\p{N}]?${letters}${contractions}`;
  const words = `${word(`${upper}*${lower}+`)}|${word(`${upper}+${lower}*`)}`;
  return `${words}|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
};

const split = (pattern: string): object => ({
  type: "Split",
  pattern: { Regex: pattern },
  behavior: "Isolated",
  invert: false,
});
/** As `Digits` of `tokenizer.json` does it; that of the library in use knows those of ASCII alone. */
const singleDigits = split("\\p{N}");

/** In the words of `tokenizer.json`. */
export interface PreTokenizer {
  readonly steps: readonly object[];
  /** Accents are composed before the text is cut. GGUF doesn't say it, but Qwen's own tokenizer does, and its models have seen no others. */
  readonly composes?: boolean;
  /** Whole words of the vocabulary are taken as they are. */
  readonly ignoresMerges?: boolean;
  /** A start token goes first where the file doesn't say otherwise. */
  readonly addsBos?: boolean;
}

const GPT2: PreTokenizer = { steps: [split(GPT2_SPLIT)] };
const DIGITS_GPT2: PreTokenizer = { steps: [singleDigits, split(GPT2_SPLIT)] };
const CL100K: PreTokenizer = { steps: [split(llama3Split("\\p{N}{1,3}"))] };
const LLAMA3: PreTokenizer = { ...CL100K, ignoresMerges: true, addsBos: true };
const QWEN2: PreTokenizer = { steps: [split(llama3Split("\\p{N}"))], composes: true };
const DEEPSEEK_CODER = ["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+"];

/** By the names that llama.cpp's converter gives. */
export const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map([
  ...["default", "gpt-2", "mellum", "a.x-4.0", "trillion"].map((name) => [name, GPT2] as const),
  ...["smollm", "minerva-7b"].map((name) => [name, DIGITS_GPT2] as const),
  ...["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"].map((name) => [name, LLAMA3] as const),
  // Phi 4 has the second.
  ...["smaug-bpe", "dbrx"].map((name) => [name, CL100K] as const),
  ...["qwen2", "deepseek-r1-qwen"].map((name) => [name, QWEN2] as const),
  ["megrez", { steps: QWEN2.steps }],
  ["tekken", { steps: [split(casedSplit("\\p{N}", ""))], ignoresMerges: true, addsBos: true }],
  ["gpt-4o", { steps: [split(casedSplit("\\p{N}{1,3}", `${CONTRACTIONS}?`))] }],
  ["deepseek-coder", { steps: [...DEEPSEEK_CODER.map(split), singleDigits] }],
  ["seed-coder", { steps: [split(SEED_SPLIT)] }],
]);

/** The pre-tokeniser of a `tokenizer.json` with `Digits` that know more than those of ASCII. */
export function withAllDigits(step: unknown): unknown {
  if (!isRecord(step)) return step;
  if (step["type"] === "Digits") return step["individual_digits"] === true ? singleDigits : split("\\p{N}+");
  const steps = step["pretokenizers"];
  return Array.isArray(steps) ? { ...step, pretokenizers: steps.map(withAllDigits) } : step;
}
