/**
 * Finds stop strings in a growing text, across the borders of its pieces, holding back what may yet become one.
 */
export interface StopScan {
  /** Text that is safe to show now. */
  readonly text: string;
  /** A stop string was found: `text` ends before it, and nothing more comes. */
  readonly stopped: boolean;
}

export class StopStrings {
  readonly #stops: readonly string[];
  #held = "";

  /** Empty strings in `stops` are ignored. */
  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop !== "");
  }

  push(piece: string): StopScan {
    const text = this.#held + piece;
    const found = this.#stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    if (found.length > 0) {
      this.#held = "";
      return { text: text.slice(0, Math.min(...found)), stopped: true };
    }
    const held = Math.max(0, ...this.#stops.map((stop) => overlap(text, stop)));
    this.#held = text.slice(text.length - held);
    return { text: text.slice(0, text.length - held), stopped: false };
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
