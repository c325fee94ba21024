/**
 * Progress on stderr: one line that is written over on a terminal; elsewhere a line whenever the stage changes, and now and then within it.
 * Knows no stage.
 */

/** Off a terminal the same stage is told again this often, ms. */
const REPEAT_MS = 10_000;

export class Progress {
  readonly #write: (text: string) => void;
  readonly #terminal: boolean;
  readonly #now: () => number;
  #stage = "";
  #text = "";
  #toldAt = 0;
  #open = false;

  /** `write` gets raw text for stderr; `now` is monotonic, ms. */
  constructor(write: (text: string) => void, terminal: boolean, now: () => number) {
    this.#write = write;
    this.#terminal = terminal;
    this.#now = now;
  }

  /** What is being done now, with or without figures. */
  show(text: string): void {
    if (text === this.#text) return;
    this.#text = text;
    if (this.#terminal) {
      this.#write(`\r\x1b[K${text}`);
      this.#open = true;
      return;
    }
    // Two texts that differ in figures only are one stage.
    const stage = text.replace(/\d+(\.\d+)?/g, "#");
    const now = this.#now();
    if (stage === this.#stage && now - this.#toldAt < REPEAT_MS) return;
    this.#stage = stage;
    this.#toldAt = now;
    this.#write(`${text}\n`);
  }

  /** Takes the open line away, so that other text can be written. The next `show` writes it again. */
  clear(): void {
    if (this.#open) this.#write("\r\x1b[K");
    this.#open = false;
    this.#text = "";
  }
}
