/** What is asked of a row of logits, and what comes of it: the seam between a sequence and whoever chooses, on the host or on a GPU. */
import type { ChosenLogprob, SamplingParameters } from "./types.ts";

/** What the penalties look at. */
export interface TokenHistory {
  /** Ids in prompt and answer, each once. */
  readonly seen: ReadonlySet<number>;
  /** How often each id occurs in the answer. */
  readonly counts: ReadonlyMap<number, number>;
}

/** All that the next token depends on besides the logits. Order as in vLLM: grammar, bias, penalties, temperature, top-k, top-p, min-p. */
export interface Draw {
  readonly sampling: SamplingParameters;
  readonly history: TokenHistory;
  /** In [0, 1): `prf(seed, position)`. */
  readonly uniform: number;
  /** Tokens that must not come now, unless nothing else may. */
  readonly barred: readonly number[];
  /** A bit for each token that may come, 32 to a word, the lowest first; absent: all may. At least one bit is set. */
  readonly allowed?: Int32Array;
  /** Log-probabilities are wanted, and so many of the best tokens with theirs. */
  readonly logprobs?: number;
}

export interface Choice {
  readonly token: number;
  /** The model's own: before everything that `Draw` says. */
  readonly logprob?: ChosenLogprob;
}
