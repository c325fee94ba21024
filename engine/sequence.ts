/**
 * One generation as the engine's loop sees it: its tokens, its place in the KV cache, what its consumer has taken, and how new
 * tokens become text or end it. Pure bookkeeping; runs nothing.
 */
import type { Choice, Draw } from "./choice.ts";
import type { GrammarFormat } from "./grammar/format.ts";
import type { LogitsMask } from "./grammar/mask.ts";
import { prf } from "./prf.ts";
import type { SequenceView } from "./scheduler.ts";
import { Detokenizer } from "./tokenizer/detokenizer.ts";
import { StopStrings } from "./tokenizer/stop-strings.ts";
import type { ChosenLogprob, FinishReason, SamplingParameters } from "./types.ts";

/** What a sequence needs to know of a tokenizer. */
export interface TokenText {
  bytesOf(token: number): Uint8Array;
  isEnd(token: number): boolean;
  readonly endTokens: readonly number[];
}

export interface GenerationRequest {
  /** At least one id. */
  readonly promptTokens: readonly number[];
  readonly sampling: SamplingParameters;
  /** Most tokens of the answer; undefined: until the slot is full. */
  readonly maxTokens: number | undefined;
  readonly stop: readonly string[];
  /** Fewer tokens than this don't end the answer, neither by an end-of-turn token nor by a stop string. */
  readonly minTokens?: number;
  /** Logprobs with each token, and so many alternatives. */
  readonly logprobs?: number;
  /** The answer's first tokens, which came from elsewhere: the answer goes on after them exactly as it would have there. */
  readonly generated?: readonly number[];
  /** What the answer must look like; its end comes when it does, whatever `minTokens` says. Only a cut by length leaves it unfinished. */
  readonly grammar?: GrammarFormat;
  /** Who asks: slots are shared fairly among callers. */
  readonly caller?: string;
  /** Cached beginnings of prompts are shared among equal salts; default: the caller. */
  readonly cacheSalt?: string;
}

export interface Usage {
  readonly promptTokens: number;
  /** Of them, those that were cached when the prompt first got a slot. */
  readonly cachedTokens: number;
  /** Tokens of the answer; the end-of-turn token doesn't count. */
  readonly completionTokens: number;
}

/** What one model step meant for one sequence. */
export interface Output {
  /** Text that became final: may be "" (half a character, or held back for a stop string). */
  readonly text: string;
  /** The new ids, end-of-turn tokens left out. */
  readonly tokens: readonly number[];
  /** One for each of `tokens`, where asked for. */
  readonly logprobs?: readonly ChosenLogprob[];
  readonly finishReason: FinishReason | undefined;
}

export class Sequence implements SequenceView {
  readonly id: number;
  readonly request: GenerationRequest;
  readonly caller: string;
  readonly salt: string;
  readonly #tokens: number[];
  readonly #seen: Set<number>;
  readonly #counts = new Map<number, number>();
  readonly #text: TokenText;
  readonly #detokenizer: Detokenizer;
  readonly #stops: StopStrings;
  /** Of the request's grammar. */
  readonly #mask: LogitsMask | undefined;
  readonly #lengthMax: number;
  /** Below this length nothing ends it. */
  readonly #lengthMin: number;
  readonly #windowTokens: number;
  #unacknowledged = 0;
  #cachedAtFirst: number | undefined;
  slot: number | undefined = undefined;
  cached = 0;
  waitingSince: number;
  runningSince: number | undefined = undefined;

  /**
   * @param limits `slotLength` and `windowTokens` in tokens; `now` in ms
   * @param mask of the request's grammar, as new
   */
  constructor(
    id: number,
    request: GenerationRequest,
    text: TokenText,
    limits: { slotLength: number; windowTokens: number; now: number },
    mask?: LogitsMask,
  ) {
    const { promptTokens, generated = [], maxTokens = Infinity, minTokens = 0 } = request;
    this.id = id;
    this.request = request;
    this.caller = request.caller ?? "";
    this.salt = request.cacheSalt ?? this.caller;
    this.#text = text;
    this.#tokens = [...promptTokens];
    this.#seen = new Set(promptTokens);
    this.#detokenizer = new Detokenizer((token) => text.bytesOf(token));
    this.#stops = new StopStrings(request.stop);
    this.#mask = mask;
    this.#lengthMax = Math.min(limits.slotLength, promptTokens.length + maxTokens);
    this.#lengthMin = promptTokens.length + minTokens;
    this.#windowTokens = limits.windowTokens;
    this.waitingSince = limits.now;
    // Its text is out already; what is unfinished of it goes on.
    for (const token of generated) this.#append(token);
  }

  get length(): number {
    return this.#tokens.length;
  }

  /** Prompt and answer so far. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  get paused(): boolean {
    return this.#unacknowledged >= this.#windowTokens;
  }

  get usage(): Usage {
    const promptTokens = this.request.promptTokens.length;
    return {
      promptTokens,
      cachedTokens: Math.min(this.#cachedAtFirst ?? 0, promptTokens),
      completionTokens: this.length - promptTokens,
    };
  }

  /** Whether it ever had a slot. */
  get wasAdmitted(): boolean {
    return this.#cachedAtFirst !== undefined;
  }

  /** It got a slot that holds its first `cached` tokens. */
  admit(slot: number, cached: number): void {
    this.slot = slot;
    this.cached = cached;
    this.#cachedAtFirst ??= cached;
  }

  /** It lost its slot, and waits again. */
  evict(now: number): void {
    this.slot = undefined;
    this.cached = 0;
    this.waitingSince = now;
    this.runningSince = undefined;
  }

  /** The consumer took `count` tokens. */
  acknowledge(count: number): void {
    this.#unacknowledged = Math.max(0, this.#unacknowledged - count);
  }

  /** Ids at positions `start .. start + count - 1`. */
  slice(start: number, count: number): Int32Array {
    return Int32Array.from(this.#tokens.slice(start, start + count));
  }

  /** The id at the position that the next decode step writes. */
  get nextInput(): number {
    return this.#tokens[this.cached]!;
  }

  /** Before `draw`. */
  async prepare(): Promise<void> {
    await this.#mask?.prepare();
  }

  /** Nothing more comes. */
  dispose(): void {
    this.#mask?.dispose();
  }

  /** What the next token is to be chosen by. Throws a GrammarError where the grammar is at fault. */
  draw(): Draw {
    const { sampling, logprobs } = this.request;
    const mayEnd = this.length >= this.#lengthMin || this.#mask?.mustEnd === true;
    return {
      sampling,
      history: { seen: this.#seen, counts: this.#counts },
      uniform: prf(sampling.seed, this.length),
      barred: mayEnd ? [] : this.#text.endTokens,
      ...(this.#mask && { allowed: this.#mask.allowed }),
      ...(logprobs !== undefined && { logprobs }),
    };
  }

  /** Takes in what was chosen. Throws a GrammarError where the grammar is at fault. */
  advance({ token, logprob }: Choice): Output {
    if (this.#text.isEnd(token)) return { text: this.#flush(), tokens: [], finishReason: "stop" };
    const { text, stopped } = this.#append(token);
    this.#unacknowledged++;
    const output = { tokens: [token], ...(logprob && { logprobs: [logprob] }) };
    if (stopped) return { ...output, text, finishReason: "stop" };
    if (this.length >= this.#lengthMax) return { ...output, text: text + this.#flush(), finishReason: "length" };
    return { ...output, text, finishReason: undefined };
  }

  #append(token: number): { text: string; stopped: boolean } {
    this.#mask?.accept(token);
    this.#tokens.push(token);
    this.#seen.add(token);
    this.#counts.set(token, (this.#counts.get(token) ?? 0) + 1);
    const piece = this.#detokenizer.push(token);
    // What comes too early to end the answer is no stop string.
    return this.length < this.#lengthMin ? { text: piece, stopped: false } : this.#stops.push(piece);
  }

  #flush(): string {
    const { text, stopped } = this.#stops.push(this.#detokenizer.finish());
    return stopped ? text : text + this.#stops.finish();
  }
}
