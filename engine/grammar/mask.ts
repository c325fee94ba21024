/** Which tokens may come next, by a grammar. One for each sequence; survives whatever happens to the sequence's slot. */
import type { GrammarMatcher } from "@mlc-ai/web-xgrammar";
import { GRAMMAR_SLOW_MS_MAX, GRAMMAR_STEP_MS } from "../limits.ts";
import { GrammarError } from "../refusals.ts";

export interface LogitsMask {
  /** Finds out what may come next; before `allowed`, and again after each `accept`. Never rejects: `allowed` says what went wrong. */
  prepare(): Promise<void>;
  /** Nothing but an end may come. */
  readonly mustEnd: boolean;
  /** A bit for each token that may come. Throws a GrammarError, also where none may. */
  readonly allowed: Int32Array;
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

  /** @param now milliseconds that never go back: at best those in which this thread computed */
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
      if (this.#mustEnd && !bits.some((word) => word !== 0))
        this.#problem = new GrammarError("the model has no token that could go on with the answer");
    } catch (cause) {
      this.#problem = new GrammarError("the grammar broke while the answer was made", { cause });
    }
    this.#watch(began);
  }

  get allowed(): Int32Array {
    if (this.#problem !== undefined) throw this.#problem;
    if (this.#bits === undefined) throw new Error("prepare() comes before allowed");
    return this.#bits;
  }

  accept(token: number): void {
    const began = this.#now();
    if (!this.#matcher.acceptToken(token)) throw new GrammarError(`token ${token} does not fit the grammar`);
    this.#bits = undefined;
    this.#watch(began);
  }

  /** A grammar that can be read in many ways at once takes ever longer as the answer grows. A machine that stood still does so once. */
  #watch(began: number): void {
    const took = this.#now() - began;
    if (took <= GRAMMAR_STEP_MS) return;
    this.#slowMs += Math.min(took, GRAMMAR_SLOW_MS_MAX);
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
