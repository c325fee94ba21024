/**
 * One generation as the engine's loop sees it: its tokens, its place in the KV cache, what its consumer has taken, and how new
 * tokens become text or end it. Pure bookkeeping; runs nothing.
 */
import { prf } from "./prf.ts";
import { sample } from "./sampler.ts";
import type { SequenceView } from "./scheduler.ts";
import { Detokenizer } from "./tokenizer/detokenizer.ts";
import { StopStrings } from "./tokenizer/stop-strings.ts";
import type { FinishReason, SamplingParameters } from "./types.ts";

/** What a sequence needs to know of a tokenizer. */
export interface TokenText {
  bytesOf(token: number): Uint8Array;
  isEnd(token: number): boolean;
}

export interface GenerationRequest {
  /** At least one id. */
  readonly promptTokens: readonly number[];
  readonly sampling: SamplingParameters;
  /** Most tokens to generate; undefined: until the slot is full. */
  readonly maxTokens: number | undefined;
  readonly stop: readonly string[];
}

export interface Usage {
  readonly promptTokens: number;
  /** Tokens of the answer; the end-of-turn token doesn't count. */
  readonly completionTokens: number;
}

/** What one model step meant for one sequence. */
export interface Output {
  /** Text that became final: may be "" (half a character, or held back for a stop string). */
  readonly text: string;
  /** The new ids, end-of-turn tokens left out. */
  readonly tokens: readonly number[];
  readonly finishReason: FinishReason | undefined;
}

export class Sequence implements SequenceView {
  readonly id: number;
  readonly request: GenerationRequest;
  readonly #tokens: number[];
  readonly #text: TokenText;
  readonly #detokenizer: Detokenizer;
  readonly #stops: StopStrings;
  readonly #lengthMax: number;
  readonly #windowTokens: number;
  #unacknowledged = 0;
  slot: number | undefined = undefined;
  cached = 0;

  /** @param limits `slotLength` and `windowTokens` in tokens */
  constructor(
    id: number,
    request: GenerationRequest,
    text: TokenText,
    limits: { slotLength: number; windowTokens: number },
  ) {
    this.id = id;
    this.request = request;
    this.#text = text;
    this.#tokens = [...request.promptTokens];
    this.#detokenizer = new Detokenizer((token) => text.bytesOf(token));
    this.#stops = new StopStrings(request.stop);
    this.#lengthMax = Math.min(limits.slotLength, request.promptTokens.length + (request.maxTokens ?? Infinity));
    this.#windowTokens = limits.windowTokens;
  }

  get length(): number {
    return this.#tokens.length;
  }

  get paused(): boolean {
    return this.#unacknowledged >= this.#windowTokens;
  }

  get usage(): Usage {
    const promptTokens = this.request.promptTokens.length;
    return { promptTokens, completionTokens: this.length - promptTokens };
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

  /** Chooses the next token from `[vocabulary]` logits and takes it in. Throws where the logits are garbage. */
  advance(logits: Float32Array): Output {
    const { sampling } = this.request;
    const token = sample(logits, sampling, this.#tokens, prf(sampling.seed, this.length));
    const score = logits[token];
    if (score === undefined || !Number.isFinite(score) || (score === 0 && logits.every((value) => value === 0))) {
      throw new Error(`the model gave no usable logits at position ${this.length} (NaN, infinite or all zero)`);
    }
    if (this.#text.isEnd(token)) return { text: this.#flush(), tokens: [], finishReason: "stop" };
    this.#tokens.push(token);
    this.#unacknowledged++;
    const tokens = [token];
    const { text, stopped } = this.#stops.push(this.#detokenizer.push(token));
    if (stopped) return { text, tokens, finishReason: "stop" };
    if (this.length >= this.#lengthMax) return { text: text + this.#flush(), tokens, finishReason: "length" };
    return { text, tokens, finishReason: undefined };
  }

  #flush(): string {
    const { text, stopped } = this.#stops.push(this.#detokenizer.finish());
    return stopped ? text : text + this.#stops.finish();
  }
}
