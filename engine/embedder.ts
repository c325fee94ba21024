/**
 * Texts to one row of numbers each: tokens, batches of like length over all that ask at a time, an encoder's run, the rows in the order
 * of the texts. Knows no runtime.
 */
import { Tokenizer } from "@huggingface/tokenizers";
import type { TextModel } from "./graph-model.ts";
import {
  EMBED_ROW_COST_TOKENS,
  EMBED_RUN_TOKENS,
  EMBED_STRETCH_CHARACTERS,
  EMBED_TEXTS_MAX,
  EMBED_WAITING_TEXTS_MAX,
  PROMPT_CHARACTERS_MAX,
} from "./limits.ts";
import { EngineFullError, PromptTooLongError } from "./refusals.ts";

/** `rows` texts of `sequence` tokens each, padded. */
export interface EncoderBatch {
  readonly rows: number;
  readonly sequence: number;
  /** Row-major `[rows, sequence]`. */
  readonly ids: Int32Array;
  /** 1 for a token, 0 for padding. */
  readonly mask: Float32Array;
}

/** Runs the encoder: rows of equally many numbers, row-major. Calls never overlap. */
export type EncoderRun = (batch: EncoderBatch) => Promise<Float32Array>;

/** A text, or its token ids as they are to be run. */
export type EncoderInput = string | readonly number[];

export interface EmbedOptions {
  /** A text that is too long loses its end; it is refused where absent. */
  readonly truncates?: boolean;
  readonly signal?: AbortSignal;
}

export interface Embedded {
  /** One for each input, in order. */
  readonly vectors: readonly Float32Array[];
  /** Of all inputs together, with those that are put around texts. */
  readonly tokens: number;
}

/** One call: what of it still waits, longest first. */
interface Call {
  waiting: readonly EncodedText[];
  readonly vectors: Float32Array[];
  /** Texts without a vector. */
  left: number;
  settle(error?: unknown): void;
}

interface EncodedText {
  readonly index: number;
  readonly ids: readonly number[];
}

interface Row {
  readonly call: Call;
  readonly text: EncodedText;
}

export class Embedder {
  readonly #run: EncoderRun;
  readonly #yieldTurn: () => Promise<void>;
  readonly #tokenizer: Tokenizer;
  readonly #text: TextModel;
  #calls: Call[] = [];
  /** Texts of all calls that have no vector yet. */
  #texts = 0;
  #isRunning = false;
  #callsInRun = 0;

  /** @param yieldTurn lets newcomers and cancellations in between two pieces of work */
  constructor(text: TextModel, run: EncoderRun, yieldTurn: () => Promise<void>) {
    this.#run = run;
    this.#yieldTurn = yieldTurn;
    this.#tokenizer = new Tokenizer(text.tokenizerJson, text.tokenizerConfig);
    this.#text = text;
  }

  /** Calls that have texts in the run under way. */
  get callsInRun(): number {
    return this.#callsInRun;
  }

  /** Ids of a text with the tokens around it. */
  encode(text: string): number[] {
    if (text.length > PROMPT_CHARACTERS_MAX)
      throw new RangeError(`a text has ${text.length} characters; at most ${PROMPT_CHARACTERS_MAX} are taken`);
    return this.#tokenizer.encode(text, { add_special_tokens: true }).ids;
  }

  /** The text of ids, without the tokens that are put around it. */
  decode(ids: readonly number[]): string {
    return this.#tokenizer.decode([...ids], { skip_special_tokens: true });
  }

  /**
   * One row for each input. Throws RangeError for what can't be embedded, PromptTooLongError for an input that is too long,
   * EngineFullError where too much waits, and the signal's reason once it is aborted.
   */
  async embed(inputs: readonly EncoderInput[], { truncates = false, signal }: EmbedOptions = {}): Promise<Embedded> {
    if (inputs.length > EMBED_TEXTS_MAX)
      throw new RangeError(
        `at most ${EMBED_TEXTS_MAX} texts are taken at once, not ${inputs.length}: send them in parts`,
      );
    if (this.#texts + inputs.length > EMBED_WAITING_TEXTS_MAX)
      throw new EngineFullError(`${this.#texts} texts wait already: the model takes ${EMBED_WAITING_TEXTS_MAX}`);
    // Counted from here on: being tokenised is waiting too.
    this.#texts += inputs.length;
    let held = inputs.length;
    // What is called off makes room at once, wherever it is.
    const release = (): void => {
      this.#texts -= held;
      held = 0;
    };
    signal?.addEventListener("abort", release, { once: true });
    try {
      const encoded = await this.#encodeAll(inputs, truncates, signal);
      const vectors = await new Promise<Float32Array[]>((resolve, reject) => {
        const call: Call = {
          waiting: encoded.toSorted((a, b) => b.ids.length - a.ids.length),
          vectors: [],
          left: inputs.length,
          settle: (error) => {
            signal?.removeEventListener("abort", onAbort);
            this.#calls = this.#calls.filter((other) => other !== call);
            if (error === undefined) resolve(call.vectors);
            else reject(error as Error);
          },
        };
        const onAbort = (): void => call.settle(signal!.reason);
        if (signal?.aborted) return onAbort();
        signal?.addEventListener("abort", onAbort, { once: true });
        if (call.left === 0) return call.settle();
        this.#calls.push(call);
        if (!this.#isRunning) void this.#runAll();
      });
      return { vectors, tokens: encoded.reduce((sum, { ids }) => sum + ids.length, 0) };
    } finally {
      signal?.removeEventListener("abort", release);
      release();
    }
  }

  async #encodeAll(
    inputs: readonly EncoderInput[],
    truncates: boolean,
    signal: AbortSignal | undefined,
  ): Promise<EncodedText[]> {
    const encoded: EncodedText[] = [];
    let stretch = 0;
    for (const [index, input] of inputs.entries()) {
      encoded.push({ index, ids: this.#idsOf(input, index, truncates) });
      stretch += input.length;
      if (stretch < EMBED_STRETCH_CHARACTERS) continue;
      stretch = 0;
      await this.#yieldTurn();
      signal?.throwIfAborted();
    }
    return encoded;
  }

  #idsOf(input: EncoderInput, index: number, truncates: boolean): readonly number[] {
    const { maxTokens, vocabulary } = this.#text;
    const ids = typeof input === "string" ? this.encode(input) : input;
    const unknown = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabulary);
    if (unknown !== undefined)
      throw new RangeError(`input ${index} has the token ${unknown}; this model knows 0 to ${vocabulary - 1}`);
    if (ids.length === 0) throw new RangeError(`input ${index} has no tokens`);
    if (ids.length <= maxTokens) return ids;
    if (!truncates)
      throw new PromptTooLongError(
        `input ${index} has ${ids.length} tokens; this model takes ${maxTokens}: shorten it or cut it into parts`,
      );
    // A text keeps the token that is put at its end.
    return typeof input === "string" ? [...ids.slice(0, maxTokens - 1), ids.at(-1)!] : ids.slice(0, maxTokens);
  }

  async #runAll(): Promise<void> {
    this.#isRunning = true;
    for (;;) {
      // Newcomers and cancellations that wait at the door.
      await this.#yieldTurn();
      if (this.#calls.length === 0) break;
      const rows = this.#take();
      this.#callsInRun = new Set(rows.map(({ call }) => call)).size;
      try {
        const values = await this.#run(
          padded(
            rows.map(({ text }) => text.ids),
            this.#text.padToken,
          ),
        );
        hand(rows, values);
      } catch (error) {
        for (const call of new Set(rows.map((row) => row.call))) call.settle(error);
      }
    }
    this.#callsInRun = 0;
    this.#isRunning = false;
  }

  /**
   * The texts of one run: the longest of the call whose turn it is, and others down to half of its length, so that at most half is
   * padding. What is left of that call comes behind all others.
   */
  #take(): Row[] {
    const [first, ...others] = this.#calls as [Call, ...Call[]];
    const longest = first.waiting[0]!.ids.length;
    const most = Math.max(1, Math.floor(EMBED_RUN_TOKENS / longest));
    const rows: Row[] = [];
    for (const call of [first, ...others]) {
      const fits = ({ ids: { length } }: EncodedText): boolean =>
        length <= longest && Math.max(length, EMBED_ROW_COST_TOKENS) * 2 >= longest;
      const taken = call.waiting.filter(fits).slice(0, most - rows.length);
      rows.push(...taken.map((text) => ({ call, text })));
      call.waiting = call.waiting.filter((text) => !taken.includes(text));
    }
    this.#calls = [...others, first].filter(({ waiting }) => waiting.length > 0);
    return rows;
  }
}

function hand(rows: readonly Row[], values: Float32Array): void {
  const width = values.length / rows.length;
  if (!values.every(Number.isFinite)) throw new Error("the model's numbers are not finite");
  rows.forEach(({ call, text }, row) => {
    call.vectors[text.index] = values.slice(row * width, (row + 1) * width);
    call.left--;
    if (call.left === 0) call.settle();
  });
}

function padded(rows: readonly (readonly number[])[], padToken: number): EncoderBatch {
  const sequence = Math.max(...rows.map((ids) => ids.length));
  const ids = new Int32Array(rows.length * sequence).fill(padToken);
  const mask = new Float32Array(rows.length * sequence);
  rows.forEach((row, i) => {
    ids.set(row, i * sequence);
    mask.fill(1, i * sequence, i * sequence + row.length);
  });
  return { rows: rows.length, sequence, ids, mask };
}
