/** Which tokens may come next, by a grammar. One for each sequence; survives whatever happens to the sequence's slot. */
import type { GrammarMatcher } from "@mlc-ai/web-xgrammar";
import { GRAMMAR_SLOW_MS_MAX, GRAMMAR_STEP_MS } from "../limits.ts";
import { GrammarError } from "../refusals.ts";

export interface LogitsMask {
  /** Finds out what may come next; before `apply`, and again after each `accept`. Never rejects: `apply` says what went wrong. */
  prepare(): Promise<void>;
  /** Nothing but an end may come. */
  readonly mustEnd: boolean;
  /** A copy in which what may not come is -Infinity. Throws a GrammarError. */
  apply(logits: Float32Array): Float32Array;
  /** Takes a token in. Throws a GrammarError where it may not come. */
  accept(token: number): void;
  dispose(): void;
}

export class GrammarMask implements LogitsMask {
  readonly #matcher: GrammarMatcher;
  /** A set bit for each end token, by the words of a bit mask. */
  readonly #ends: ReadonlyMap<number, number>;
  /** A bit for each token; undefined: not known since the last token. */
  #bits: Int32Array | undefined;
  #problem: GrammarError | undefined;
  #mustEnd = false;
  #isDisposed = false;
  readonly #now: () => number;
  #slowMs = 0;

  /** @param now milliseconds on a clock that never goes back */
  constructor(matcher: GrammarMatcher, endTokens: readonly number[], now: () => number) {
    this.#matcher = matcher;
    this.#now = now;
    const ends = new Map<number, number>();
    for (const token of endTokens) ends.set(token >> 5, (ends.get(token >> 5) ?? 0) | (1 << (token & 31)));
    this.#ends = ends;
  }

  get mustEnd(): boolean {
    return this.#mustEnd;
  }

  async prepare(): Promise<void> {
    if (this.#bits !== undefined || this.#isDisposed) return;
    const began = this.#now();
    try {
      const bits = await this.#matcher.getNextTokenBitmask();
      this.#bits = bits;
      this.#mustEnd = !bits.some((word, at) => (word & ~(this.#ends.get(at) ?? 0)) !== 0);
    } catch (cause) {
      this.#problem = new GrammarError("the grammar broke while the answer was made", { cause });
    }
    this.#watch(began);
  }

  apply(logits: Float32Array): Float32Array {
    const bits = this.#bits;
    if (this.#problem !== undefined) throw this.#problem;
    if (bits === undefined) throw new Error("prepare() comes before apply()");
    const masked = new Float32Array(logits.length).fill(-Infinity);
    let isEmpty = true;
    for (let at = 0; at < bits.length; at++) {
      const first = at << 5;
      for (let word = bits[at]!; word !== 0; word &= word - 1) {
        const token = first + 31 - Math.clz32(word & -word);
        if (token >= logits.length) break;
        masked[token] = logits[token]!;
        isEmpty = false;
      }
    }
    if (isEmpty) throw new GrammarError("the model has no token that could go on with the answer");
    return masked;
  }

  accept(token: number): void {
    const began = this.#now();
    if (!this.#matcher.acceptToken(token)) throw new GrammarError(`token ${token} does not fit the grammar`);
    this.#bits = undefined;
    this.#watch(began);
  }

  /** A grammar that can be read in many ways at once takes ever longer as the answer grows. */
  #watch(began: number): void {
    const took = this.#now() - began;
    if (took <= GRAMMAR_STEP_MS) return;
    this.#slowMs += took;
    if (this.#slowMs > GRAMMAR_SLOW_MS_MAX)
      this.#problem ??= new GrammarError(
        "the grammar takes too long at each token: repetitions within repetitions can be read in too many ways",
      );
  }

  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#matcher.dispose();
  }
}
