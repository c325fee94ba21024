/**
 * One generation as the engine's loop sees it: its tokens, its place in the KV cache, what its consumer has taken, and how new
 * tokens become text or end it. Pure bookkeeping; runs nothing.
 */
import type { Choice, Draw } from "./choice.ts";
import type { GrammarFormat } from "./grammar/format.ts";
import type { LogitsMask } from "./grammar/mask.ts";
import { PREFILL_SCORED_TOKENS, SCORED_TOKEN_COST_TOKENS } from "./limits.ts";
import { prf } from "./prf.ts";
import type { SequenceView } from "./scheduler.ts";
import { Detokenizer } from "./tokenizer/detokenizer.ts";
import { type StopScan, StopStrings } from "./tokenizer/stop-strings.ts";
import type { ChosenLogprob, FinishReason, PromptLogprob, SamplingParameters } from "./types.ts";

/** What a sequence needs to know of a tokenizer. */
export interface TokenText {
  bytesOf(token: number, showsControl?: boolean): Uint8Array;
  isEnd(token: number): boolean;
  readonly endTokens: readonly number[];
}

export interface GenerationRequest {
  /** At least one id. */
  readonly promptTokens: readonly number[];
  readonly sampling: SamplingParameters;
  /** Most tokens of the answer; undefined: until the slot is full. */
  readonly maxTokens: number | undefined;
  /** Texts at which the answer ends. */
  readonly stop: readonly string[];
  /** Ids at which it ends, as at an end-of-turn token. */
  readonly stopTokens?: readonly number[];
  /** The text or token of these that ended the answer is its last part; else it is none. */
  readonly includesStop?: boolean;
  /** End-of-turn tokens don't come: only length, `stop` and `stopTokens` end the answer. */
  readonly ignoresEnd?: boolean;
  /** Only these ids may come, the end-of-turn token's too only if it is one of them; not together with a grammar. */
  readonly allowedTokens?: readonly number[];
  /** Fewer tokens than this don't end the answer, neither by an end-of-turn token nor by what `stop` and `stopTokens` say. */
  readonly minTokens?: number;
  /** Control tokens have their spelling in the text; else none. */
  readonly showsControl?: boolean;
  /** Logprobs with each token, and so many alternatives. */
  readonly logprobs?: number;
  /** Logprobs of the prompt's own tokens, and so many alternatives: all of it is computed, whatever the cache holds. */
  readonly promptLogprobs?: number;
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
  /** With the first output, where asked for: of the prompt's tokens but the first, which nothing foretells. */
  readonly promptLogprobs?: readonly PromptLogprob[];
  readonly finishReason: FinishReason | undefined;
  /** Which of the request's `stop` and `stopTokens` ended it. */
  readonly stoppedBy?: string | number;
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
  /** A bit for each of the request's `allowedTokens`. */
  readonly #allowed: Int32Array | undefined;
  readonly #lengthMax: number;
  /** Below this length nothing ends it. */
  readonly #lengthMin: number;
  readonly #windowTokens: number;
  #unacknowledged = 0;
  /** As many as are known; undefined once they are out, and where nobody asks. */
  #promptLogprobs: PromptLogprob[] | undefined;
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
    const { promptTokens, generated = [], maxTokens = Infinity, minTokens = 0, showsControl, includesStop } = request;
    this.id = id;
    this.request = request;
    this.caller = request.caller ?? "";
    this.salt = request.cacheSalt ?? this.caller;
    this.#text = text;
    this.#tokens = [...promptTokens];
    this.#seen = new Set(promptTokens);
    this.#detokenizer = new Detokenizer((token) => text.bytesOf(token, showsControl));
    this.#stops = new StopStrings(request.stop, includesStop);
    this.#mask = mask;
    this.#allowed = request.allowedTokens && bitsOf(request.allowedTokens);
    this.#lengthMax = Math.min(limits.slotLength, promptTokens.length + maxTokens);
    this.#lengthMin = promptTokens.length + minTokens;
    this.#windowTokens = limits.windowTokens;
    this.waitingSince = limits.now;
    if (request.promptLogprobs !== undefined) this.#promptLogprobs = [];
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

  /** Whether the logits after each token of its next run are wanted. */
  get scoresPrompt(): boolean {
    return this.#promptLogprobs !== undefined && this.#promptLogprobs.length < this.request.promptTokens.length - 1;
  }

  get runMax(): number | undefined {
    return this.scoresPrompt ? PREFILL_SCORED_TOKENS : undefined;
  }

  get tokenCost(): number {
    return this.scoresPrompt ? SCORED_TOKEN_COST_TOKENS : 1;
  }

  /** What a cache may hold of it, and one token more: the first whose logits are wanted. */
  get sought(): readonly number[] {
    return this.scoresPrompt ? this.#tokens.slice(0, this.#promptLogprobs!.length + 1) : this.#tokens;
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
    const allowed = this.#mask?.allowed ?? this.#allowed;
    return {
      sampling,
      history: { seen: this.#seen, counts: this.#counts },
      uniform: prf(sampling.seed, this.length),
      barred: this.#barred,
      ...(allowed && { allowed }),
      ...(logprobs !== undefined && { logprobs }),
    };
  }

  get #barred(): readonly number[] {
    const { stopTokens = [], ignoresEnd } = this.request;
    if (this.#mask?.mustEnd === true) return [];
    if (this.length < this.#lengthMin) return [...this.#text.endTokens, ...stopTokens];
    return ignoresEnd === true ? this.#text.endTokens.filter((token) => !stopTokens.includes(token)) : [];
  }

  /**
   * Takes in what the model thinks of the prompt's tokens.
   * @param score of a token by the logits after the one at a position
   */
  scorePrompt(start: number, count: number, score: (position: number, token: number) => PromptLogprob): void {
    const scores = this.#promptLogprobs!;
    const { promptTokens } = this.request;
    const end = Math.min(start + count, promptTokens.length - 1);
    for (let at = scores.length; at < end; at++) scores.push(score(at, promptTokens[at + 1]!));
  }

  /** Takes in what was chosen. Throws a GrammarError where the grammar is at fault. */
  advance({ token, logprob }: Choice): Output {
    const promptLogprobs = this.#promptLogprobs;
    this.#promptLogprobs = undefined;
    const first = promptLogprobs && { promptLogprobs };
    const { stopTokens, includesStop } = this.request;
    const stoppedBy = stopTokens?.includes(token) === true ? { stoppedBy: token } : undefined;
    if ((stoppedBy ?? this.#text.isEnd(token)) && !(stoppedBy && includesStop))
      return { ...first, text: this.#flush(), tokens: [], finishReason: "stop", ...stoppedBy };
    const { text, stop } = this.#append(token);
    this.#unacknowledged++;
    const output = { ...first, tokens: [token], ...(logprob && { logprobs: [logprob] }) };
    if (stop !== undefined) return { ...output, text, finishReason: "stop", stoppedBy: stop };
    if (stoppedBy) return { ...output, text: text + this.#flush(), finishReason: "stop", ...stoppedBy };
    if (this.length >= this.#lengthMax) return { ...output, text: text + this.#flush(), finishReason: "length" };
    return { ...output, text, finishReason: undefined };
  }

  #append(token: number): StopScan {
    this.#mask?.accept(token);
    this.#tokens.push(token);
    this.#seen.add(token);
    this.#counts.set(token, (this.#counts.get(token) ?? 0) + 1);
    const piece = this.#detokenizer.push(token);
    // What comes too early to end the answer is no stop string.
    return this.length < this.#lengthMin ? { text: piece, stop: undefined } : this.#stops.push(piece);
  }

  #flush(): string {
    const { text, stop } = this.#stops.push(this.#detokenizer.finish());
    return stop !== undefined ? text : text + this.#stops.finish();
  }
}

/** A bit for each id, 32 to a word, the lowest first. */
function bitsOf(tokens: readonly number[]): Int32Array {
  const bits = new Int32Array((Math.max(...tokens) >> 5) + 1);
  for (const token of tokens) bits[token >> 5]! |= 1 << (token & 31);
  return bits;
}
