/** Log-probabilities of tokens from the model's own logits. Knows nothing of sampling. */
import type { ChosenLogprob, TokenLogprob } from "./types.ts";

/**
 * The log-probability of `token`, and the `top` best with theirs, best first, equals by id.
 * @param logits `[vocabulary]`; not changed
 */
export function logprobsOf(logits: Float32Array, token: number, top: number): ChosenLogprob {
  const best = bestOf(logits, Math.max(1, top));
  const highest = logits[best[0]!]!;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - highest);
  const normaliser = highest + Math.log(total);
  const entry = (id: number): TokenLogprob => ({ token: id, logprob: logits[id]! - normaliser });
  return { ...entry(token), top: best.slice(0, top).map(entry) };
}

/** Ids of the `count` largest values. One pass: only what beats the least of the best so far is sorted in. */
function bestOf(values: Float32Array, count: number): number[] {
  const best: number[] = [];
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

/** Whether these can be a model's logits: finite, and not all the same. Broken kernels and lost devices give NaN or zeros. */
export function areUsable(logits: Float32Array): boolean {
  const first = logits[0]!;
  let isVaried = false;
  // By index, and a difference instead of isFinite: this runs over every row of every step.
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i]!;
    if (logit - logit !== 0) return false;
    if (logit !== first) isVaried = true;
  }
  return isVaried;
}
