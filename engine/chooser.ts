/** Chooses tokens on the host: a pure function of logits and what is asked of them. */
import type { Choice, Draw } from "./choice.ts";
import { GrammarError } from "./refusals.ts";
import { drawRanked } from "./ranking.ts";
import { scaleOf, Scores } from "./scores.ts";
import type { ChosenLogprob, PromptLogprob, TokenLogprob } from "./types.ts";

export class Chooser {
  readonly #scores: Scores;

  constructor(vocabulary: number) {
    this.#scores = new Scores(vocabulary);
  }

  /**
   * @param logits `[vocabulary]`; not changed
   * @throws where they are not usable (`Scores.load`); a GrammarError where nothing may come
   */
  choose(logits: Float32Array, draw: Draw): Choice {
    const scores = this.#scores;
    scores.load(logits);
    const { sampling, allowed, logprobs, uniform } = draw;
    const normaliser = logprobs === undefined ? 0 : this.#normaliser();
    if (allowed !== undefined) scores.mask(allowed);
    adjust(scores.values, draw);
    const highest = this.#bar(draw.barred);
    if (highest === -Infinity) throw new GrammarError("the model has no token that could go on with the answer");
    const { temperature, topK } = sampling;
    const isGreedy = temperature === 0 || topK === 1;
    const token = isGreedy ? scores.first(highest) : drawRanked(scores, sampling, highest, uniform);
    return logprobs === undefined ? { token } : { token, logprob: logprobsOf(logits, token, logprobs, normaliser) };
  }

  /**
   * What the model thinks of a token that is there already, and the `top` best with theirs. Throws as `choose` does.
   * @param logits `[vocabulary]`; not changed
   */
  score(logits: Float32Array, token: number, top: number): PromptLogprob {
    this.#scores.load(logits);
    const own = logits[token]!;
    const rank = logits.reduce((better, logit) => (logit > own ? better + 1 : better), 1);
    return { ...logprobsOf(logits, token, top, this.#normaliser()), rank };
  }

  /** What a logit is less than its log-probability, in nats. */
  #normaliser(): number {
    const { highest, masses } = this.#scores;
    this.#scores.rank(highest, scaleOf(1));
    return highest + Math.log(masses.reduce((sum, mass) => sum + mass, 0));
  }

  /** Bars tokens, unless nothing would be left, and returns the highest score. */
  #bar(barred: readonly number[]): number {
    const { values } = this.#scores;
    const tokens = barred.filter((token) => token < values.length);
    const before = tokens.map((token) => values[token]!);
    for (const token of tokens) values[token] = -Infinity;
    if (tokens.length > 0 && this.#scores.highest === -Infinity)
      tokens.forEach((token, i) => (values[token] = before[i]!));
    return this.#scores.highest;
  }
}

/** Bias and penalties. */
function adjust(scores: Float32Array, { sampling, history }: Draw): void {
  const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias } = sampling;
  for (const [token, bias] of Object.entries(logitBias))
    if (Number(token) < scores.length) scores[Number(token)]! += bias;
  // That of CTRL (Keskar et al., 2019): each seen token once, towards less likely whatever its sign.
  if (repetitionPenalty !== 1) {
    for (const token of history.seen) {
      const score = scores[token];
      if (score !== undefined) scores[token] = score > 0 ? score / repetitionPenalty : score * repetitionPenalty;
    }
  }
  if (presencePenalty !== 0 || frequencyPenalty !== 0)
    for (const [token, count] of history.counts) scores[token]! -= presencePenalty + frequencyPenalty * count;
}

/** The log-probability of `token`, and the `top` best with theirs, best first, equals by id. */
function logprobsOf(logits: Float32Array, token: number, top: number, normaliser: number): ChosenLogprob {
  const entry = (id: number): TokenLogprob => ({ token: id, logprob: logits[id]! - normaliser });
  return { ...entry(token), top: bestOf(logits, top).map(entry) };
}

/** Ids of the `count` largest values. One pass: only what beats the least of the best so far is sorted in. */
function bestOf(values: Float32Array, count: number): number[] {
  const best: number[] = [];
  if (count === 0) return best;
  for (let id = 0; id < values.length; id++) {
    const value = values[id]!;
    if (best.length === count && value <= values[best[count - 1]!]!) continue;
    let at = best.length;
    while (at > 0 && values[best[at - 1]!]! < value) at--;
    best.splice(at, 0, id);
    best.length = Math.min(best.length, count);
  }
  return best;
}
