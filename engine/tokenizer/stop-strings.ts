/**
 * Finds stop strings in a growing text, across the borders of its pieces, holding back what may yet become one.
 */
export interface StopScan {
  /** Text that is safe to show now. */
  readonly text: string;
  /** The stop string that was found: `text` ends before it, or with it, and nothing more comes. */
  readonly stop: string | undefined;
}

export class StopStrings {
  readonly #stops: readonly string[];
  readonly #includes: boolean;
  #held = "";

  /**
   * Empty strings in `stops` are ignored.
   * @param includes the text ends with the stop string that was found
   */
  constructor(stops: readonly string[], includes = false) {
    // The shorter one of two that begin alike is complete first.
    this.#stops = stops.filter((stop) => stop !== "").toSorted((a, b) => a.length - b.length);
    this.#includes = includes;
  }

  push(piece: string): StopScan {
    const text = this.#held + piece;
    const found = this.#stops
      .map((stop) => ({ stop, at: text.indexOf(stop) }))
      .filter(({ at }) => at >= 0)
      .toSorted((a, b) => a.at - b.at)[0];
    if (found !== undefined) {
      const { stop, at } = found;
      this.#held = "";
      return { text: text.slice(0, at + (this.#includes ? stop.length : 0)), stop };
    }
    const held = Math.max(0, ...this.#stops.map((stop) => overlap(text, stop)));
    this.#held = text.slice(text.length - held);
    return { text: text.slice(0, text.length - held), stop: undefined };
  }

  /** What was held back, once no more text comes. */
  finish(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }
}

/** Length of the longest proper prefix of `stop` that `text` ends with. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(stop.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
