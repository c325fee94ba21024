/** What is asked of rows of logits, as the words that the GPU's kernel reads (`../kernels/choose-wgsl.ts`). Knows no device. */
import type { Draw } from "../choice.ts";
import { BEST_MAX, EDIT_WORDS, FLAGS, HEADER_WORDS, SEEN_BIT } from "../kernels/choose-wgsl.ts";
import { PER_NAT } from "../kernels/rank-wgsl.ts";
import { GrammarError } from "../refusals.ts";
import { BUCKETS, scaleOf } from "../scores.ts";

/** Deeper than any score lies, in buckets. */
const EVERYTHING = 1e9;
/** The largest f32 below 1: what is rounded to 1 would give the least likely token of all. */
const BELOW_ONE = 1 - 2 ** -24;

export class DrawWords {
  readonly #vocabulary: number;
  #words = new Uint32Array(1_024);
  #floats = new Float32Array(this.#words.buffer);
  #length = 0;

  constructor(vocabulary: number) {
    this.#vocabulary = vocabulary;
  }

  /**
   * The words of these rows; of a row without a draw nothing is asked. Valid until the next call.
   * @throws a GrammarError where a mask lets no token come
   */
  of(draws: readonly (Draw | undefined)[]): Uint32Array<ArrayBuffer> {
    this.#length = 0;
    this.#take(draws.length * HEADER_WORDS);
    draws.forEach((draw, row) => {
      if (draw !== undefined) this.#row(row * HEADER_WORDS, draw);
    });
    return this.#words.subarray(0, this.#length);
  }

  #row(head: number, draw: Draw): void {
    const { temperature, topK, topP, minP, repetitionPenalty } = draw.sampling;
    const edits = this.#length;
    this.#edits(draw);
    const editCount = (this.#length - edits) / EDIT_WORDS;
    const mask = this.#length;
    const isMasked = this.#mask(draw);
    const perUnit = (scaleOf(temperature) * PER_NAT) / scaleOf(1);
    const isDrawn = temperature !== 0 && topK !== 1;
    const { active, masked, drawn, logprobs } = FLAGS;
    const flags =
      active | (isMasked ? masked : 0) | (isDrawn ? drawn : 0) | (draw.logprobs === undefined ? 0 : logprobs);
    this.#words.set([flags, edits, editCount, mask], head);
    this.#floats.set([repetitionPenalty, perUnit], head + 4);
    this.#words[head + 6] = Math.min(topK, this.#vocabulary);
    this.#floats.set([topP, minP > 0 ? -Math.log(minP) * PER_NAT : EVERYTHING], head + 7);
    this.#floats[head + 9] = Math.min(draw.uniform, BELOW_ONE);
    this.#words[head + 10] = Math.min(draw.logprobs ?? 0, BEST_MAX, this.#vocabulary);
    this.#floats[head + 11] = BUCKETS / scaleOf(temperature);
  }

  /** Bias and penalties, each token once: the kernel's threads take them in any order. */
  #edits({ sampling, history }: Draw): void {
    const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias } = sampling;
    const places = new Map<number, number>();
    const placeOf = (token: number): number => {
      let place = places.get(token);
      if (place === undefined) {
        place = this.#take(EDIT_WORDS);
        this.#words[place] = token;
        places.set(token, place);
      }
      return place;
    };
    for (const [token, bias] of Object.entries(logitBias))
      if (Number(token) < this.#vocabulary) this.#floats[placeOf(Number(token)) + 1] = bias;
    if (repetitionPenalty !== 1) {
      for (const token of history.seen) {
        if (token >= this.#vocabulary) continue;
        const place = placeOf(token);
        this.#words[place] = token | SEEN_BIT;
      }
    }
    if (presencePenalty !== 0 || frequencyPenalty !== 0) {
      for (const [token, count] of history.counts) {
        const place = placeOf(token);
        this.#floats[place + 2] = presencePenalty + frequencyPenalty * count;
      }
    }
  }

  /** A bit for each token that may come: of the grammar's without the barred ones, unless nothing would be left. Whether there is one. */
  #mask({ allowed, barred }: Draw): boolean {
    if (allowed === undefined && barred.length === 0) return false;
    const size = Math.ceil(this.#vocabulary / 32);
    const at = this.#take(size);
    const words = this.#words.subarray(at, at + size);
    if (allowed === undefined) words.fill(0xffff_ffff);
    else words.set(allowed.subarray(0, size));
    const inLast = this.#vocabulary % 32;
    if (inLast > 0) words[size - 1]! &= (1 << inLast) - 1;
    const tokens = barred.filter((token) => token < this.#vocabulary);
    const before = tokens.map((token) => words[token >> 5]!);
    for (const token of tokens) words[token >> 5]! &= ~(1 << (token & 31));
    if (words.some((word) => word !== 0)) return true;
    tokens.forEach((token, i) => (words[token >> 5] = before[i]!));
    if (words.every((word) => word === 0))
      throw new GrammarError("the model has no token that could go on with the answer");
    return true;
  }

  /** Room for so many words, set to 0; where it begins. */
  #take(count: number): number {
    const start = this.#length;
    this.#length += count;
    if (this.#length > this.#words.length) {
      const words = new Uint32Array(2 * this.#length);
      words.set(this.#words);
      this.#words = words;
      this.#floats = new Float32Array(words.buffer);
    }
    this.#words.fill(0, start, this.#length);
    return start;
  }
}
