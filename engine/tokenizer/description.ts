/** A tokenizer described by plain JSON values: what the converters make and `Tokenizer` runs. */
export interface TokenizerDescription {
  /** The object of a `tokenizer.json` file. */
  readonly tokenizerJson: Readonly<Record<string, unknown>>;
  /**
   * What a vocabulary entry's spelling stands for: characters of the byte alphabet of GPT-2, or text with U+2581 for a space and `<0xAB>`
   * for a byte, as SentencePiece has it.
   */
  readonly spelling: "byte-level" | "sentencepiece";
  /** Vocabulary by id, as spelled in the file; "" where an id has no token. */
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

/** Spellings of end-of-turn tokens that a file may have beside its end-of-sequence token. */
const END_OF_TURN = [
  "<|im_end|>",
  "<|eot_id|>",
  "<|eom_id|>",
  "<|end|>",
  "<end_of_turn>",
  "<|endoftext|>",
  "<|end_of_text|>",
];

/** The named ends and those of the control tokens that are spelled like one. */
export function endTokensOf(
  named: readonly (number | undefined)[],
  tokens: readonly string[],
  controlTokens: readonly number[],
): number[] {
  const ends = new Set(named.filter((token) => token !== undefined));
  for (const token of controlTokens) if (END_OF_TURN.includes(tokens[token]!)) ends.add(token);
  return [...ends];
}
