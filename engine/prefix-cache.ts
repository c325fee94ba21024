/**
 * Which tokens' keys and values ended sequences left in which slots, and who may begin with them. Bookkeeping; copies nothing.
 *
 * A salt is part of the key: sequences with different salts never share, so that nobody can tell from the time to the first token
 * what others have asked.
 */
import type { KeptView, Prefix } from "./placement.ts";

/** Tokens in a slot. */
export interface Cached {
  readonly slot: number;
  /** At least those whose keys and values are there. */
  readonly tokens: readonly number[];
  readonly length: number;
  readonly salt: string;
}

interface Kept extends Cached {
  readonly usedAt: number;
}

export class PrefixCache {
  readonly #kept = new Map<number, Kept>();
  readonly #least: number;
  #uses = 0;

  /** @param least a shorter common beginning is not worth a copy, in tokens */
  constructor(least: number) {
    this.#least = least;
  }

  /** What nobody holds. */
  get views(): readonly KeptView[] {
    return [...this.#kept.values()];
  }

  /** A sequence leaves its slot. */
  keep(cached: Cached): void {
    if (cached.length >= this.#least) this.#kept.set(cached.slot, { ...cached, usedAt: ++this.#uses });
  }

  /** A slot is overwritten, or taken over. */
  drop(slot: number): void {
    this.#kept.delete(slot);
  }

  /** What is kept in `from` was copied to `to`, and `from` is empty. */
  move(from: number, to: number): void {
    const kept = this.#kept.get(from);
    this.#kept.delete(from);
    if (kept !== undefined) this.#kept.set(to, { ...kept, slot: to });
  }

  /**
   * The slot that holds the most of the beginning of `tokens`, but never all of them: the last one must run, for its logits.
   * @param live what running sequences hold
   */
  find(tokens: readonly number[], salt: string, live: readonly Cached[]): Prefix | undefined {
    let best: Prefix | undefined;
    for (const cached of [...this.#kept.values(), ...live]) {
      if (cached.salt !== salt) continue;
      const length = sharedLength(tokens, cached.tokens, Math.min(cached.length, tokens.length - 1));
      if (length >= this.#least && length > (best?.length ?? 0)) best = { slot: cached.slot, length };
    }
    const kept = best && this.#kept.get(best.slot);
    if (kept !== undefined) this.#kept.set(kept.slot, { ...kept, usedAt: ++this.#uses });
    return best;
  }
}

function sharedLength(a: readonly number[], b: readonly number[], most: number): number {
  let length = 0;
  while (length < most && a[length] === b[length]) length++;
  return length;
}
