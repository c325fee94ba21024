/**
 * Tells thought from answer in a growing text: `<think>…</think>` at its beginning, white space around both dropped. Where the pieces are cut
 * makes no difference. Pure.
 */
const OPEN = "<think>";
const CLOSE = "</think>";

export interface Thinking {
  readonly thought: string;
  readonly text: string;
}

export class ThoughtParser {
  /** "before": not decided yet; "behind": the thought is over, and the answer has not begun. */
  #place: "before" | "inside" | "behind" | "outside" = "before";
  readonly #startsInside: boolean;
  #isFresh = true;
  #held = "";

  /** @param startsInside the prompt ends with the mark that opens a thought */
  constructor(startsInside: boolean) {
    this.#startsInside = startsInside;
  }

  /** What comes now may be thought. */
  get isInside(): boolean {
    return this.#place === "inside" || this.#place === "before";
  }

  push(piece: string): Thinking {
    this.#held += piece;
    return this.#read(false);
  }

  /** What was held back, once no more comes. */
  finish(): Thinking {
    return this.#read(true);
  }

  #read(isLast: boolean): Thinking {
    if (this.#place === "before" && !this.#begin(isLast)) return { thought: "", text: "" };
    const thought = this.#place === "inside" ? this.#thought(isLast) : "";
    if (this.#place === "behind") {
      this.#held = this.#held.trimStart();
      if (this.#held !== "") this.#place = "outside";
    }
    if (this.#place !== "outside") return { thought, text: "" };
    const text = this.#held;
    this.#held = "";
    return { thought, text };
  }

  /** False: it isn't known yet what the answer begins with. */
  #begin(isLast: boolean): boolean {
    const begin = this.#held.trimStart();
    if (!isLast && begin !== OPEN && OPEN.startsWith(begin)) return false;
    const isMarked = begin.startsWith(OPEN);
    if (isMarked) this.#held = begin.slice(OPEN.length);
    this.#place = isMarked || this.#startsInside ? "inside" : "outside";
    return true;
  }

  #thought(isLast: boolean): string {
    if (this.#isFresh) this.#held = this.#held.trimStart();
    const held = this.#held;
    const end = held.indexOf(CLOSE);
    if (end >= 0) this.#place = "behind";
    const upTo = end >= 0 ? end : isLast ? held.length : held.length - overlapOf(held);
    const thought = held.slice(0, upTo).trimEnd();
    this.#held = end >= 0 ? held.slice(end + CLOSE.length) : isLast ? "" : held.slice(thought.length);
    if (thought !== "") this.#isFresh = false;
    return thought;
  }
}

/** Length of the longest proper prefix of the closing mark that `text` ends with. */
function overlapOf(text: string): number {
  for (let length = Math.min(CLOSE.length - 1, text.length); length > 0; length--)
    if (text.endsWith(CLOSE.slice(0, length))) return length;
  return 0;
}
