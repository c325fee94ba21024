/** What a step is, in the memory that its threads share: rows of one token each, wherever they come from. */
const ROWS = 0;
const SELECTED = 1;
const FIRST_LOGITS = 2;
/** Of the words before the lists. */
const AHEAD = 4;
const LISTS = 4;

/** i32 words that steps of at most `rows` rows take. */
export const stepWords = (rows: number): number => AHEAD + LISTS * rows;

export class StepWords {
  /** Of each row. */
  readonly tokens: Int32Array;
  readonly slots: Int32Array;
  readonly positions: Int32Array;
  /** Rows whose logits are wanted. */
  readonly selection: Int32Array;
  readonly #words: Int32Array;

  /** A view of the words at byte `at` for steps of at most `rows` rows. */
  constructor(memory: ArrayBufferLike, at: number, rows: number) {
    this.#words = new Int32Array(memory, at, stepWords(rows));
    const [tokens, slots, positions, selection] = [0, 1, 2, 3].map((list) => {
      const start = AHEAD + list * rows;
      return this.#words.subarray(start, start + rows);
    }) as [Int32Array, Int32Array, Int32Array, Int32Array];
    this.tokens = tokens;
    this.slots = slots;
    this.positions = positions;
    this.selection = selection;
  }

  get rows(): number {
    return this.#words[ROWS]!;
  }

  set rows(count: number) {
    this.#words[ROWS] = count;
  }

  /** How many of `selection` count. */
  get selected(): number {
    return this.#words[SELECTED]!;
  }

  set selected(count: number) {
    this.#words[SELECTED] = count;
  }

  /** Row of the logits where those of this step begin. */
  get firstLogits(): number {
    return this.#words[FIRST_LOGITS]!;
  }

  set firstLogits(row: number) {
    this.#words[FIRST_LOGITS] = row;
  }
}
