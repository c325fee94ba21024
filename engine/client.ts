/**
 * The engine as the rest of a program sees it: a thread of its own behind plain calls. Watches over the thread: one that dies, breaks
 * or falls silent while it has work is ended, and everybody who waits is told why. Timers and the thread itself are arguments.
 */
import type { EncoderInput } from "./embedder.ts";
import { EngineGeneration } from "./generation.ts";
import { CLOSE_GRACE_MS, LOAD_SILENCE_MS, SILENCE_GRACE_MS, STEP_SILENCE_MS, WINDOW_TOKENS } from "./limits.ts";
import { GREEDY } from "./sampling.ts";
import type { EngineStats, GraphStats } from "./stats.ts";
import type { Tensors } from "./tensor.ts";
import {
  type EmbeddedTexts,
  type FromEngine,
  type GenerateOptions,
  type LoadProgress,
  type LoadSpec,
  type LoadedGraph,
  type LoadedModel,
  type ProbeResult,
  type PromptInput,
  type ToEngine,
  toError,
} from "./thread-messages.ts";
import type { SamplingParameters } from "./types.ts";

/** A running engine thread, whatever it is made of. */
export interface EngineThread {
  post(message: ToEngine): void;
  onMessage(handler: (message: FromEngine) => void): void;
  /** Called once, when the thread has ended for whatever reason, with one clear sentence. */
  onExit(handler: (reason: string) => void): void;
  /** Ends the thread now, even inside a model step. */
  terminate(): void;
}

export interface EngineClientOptions {
  readonly spawn: () => EngineThread;
  /** Calls back once after `ms`; returns how to call it off. */
  readonly after: (ms: number, callback: () => void) => () => void;
  /** The engine is gone, unless `close` was called: called once. */
  readonly onDead?: (reason: string) => void;
  /** Milliseconds of silence that count as death; the defaults are in `limits.ts`. */
  readonly stepSilenceMs?: number;
  readonly loadSilenceMs?: number;
}

export type GenerateRequest = PromptInput &
  Partial<Omit<GenerateOptions, "sampling">> & {
    /** Defaults to greedy. Without a seed the caller gets seed 0: choose one where answers should differ. */
    readonly sampling?: Partial<SamplingParameters>;
    readonly signal?: AbortSignal;
  };

/** The engine's thread died, broke or was ended. Nothing that was asked of it will be answered. */
export class EngineDeadError extends Error {
  override readonly name = "EngineDeadError";
}

interface Waiting<T> {
  resolve(value: T): void;
  reject(error: Error): void;
}

export class EngineClient {
  readonly #thread: EngineThread;
  readonly #options: EngineClientOptions;
  readonly #generations = new Map<number, EngineGeneration>();
  /** Questions about text, tokens and what was done. */
  readonly #questions = new Map<number, Waiting<unknown>>();
  /** Those of them for which a graph must run. */
  readonly #runs = new Set<number>();
  #nextId = 1;
  #ready: Waiting<void> | undefined;
  #probe: Waiting<ProbeResult> | undefined;
  #load:
    | (Waiting<LoadedModel | LoadedGraph> & { readonly onProgress: ((progress: LoadProgress) => void) | undefined })
    | undefined;
  #closing: Waiting<void> | undefined;
  #dead: EngineDeadError | undefined;
  #stopWatch: (() => void) | undefined;

  private constructor(options: EngineClientOptions) {
    this.#options = options;
    this.#thread = options.spawn();
    this.#thread.onMessage((message) => this.#receive(message));
    this.#thread.onExit((reason) => this.#die(reason));
  }

  /** Starts the thread and waits until it answers. */
  static async start(options: EngineClientOptions): Promise<EngineClient> {
    const client = new EngineClient(options);
    await client.#ask<void>((waiting) => (client.#ready = waiting));
    return client;
  }

  /** What this machine can run models with. */
  probe({ allowSoftwareGpu = false }: { allowSoftwareGpu?: boolean } = {}): Promise<ProbeResult> {
    if (this.#probe ?? this.#load)
      return Promise.reject(new Error("the engine is busy with another probe or load: await it first"));
    return this.#ask<ProbeResult>((waiting) => {
      this.#probe = waiting;
      this.#post({ type: "probe", allowSoftwareGpu });
    });
  }

  /** Loads a language model, as `open` does; rejects where it is something else. */
  async load(spec: LoadSpec, onProgress?: (progress: LoadProgress) => void): Promise<LoadedModel> {
    const loaded = await this.open(spec, onProgress);
    if ("kind" in loaded) throw new Error("this is no language model");
    return loaded;
  }

  /** Loads the one model of this thread. Rejects with the reason where it can't; the thread may then try another spec. */
  open(spec: LoadSpec, onProgress?: (progress: LoadProgress) => void): Promise<LoadedModel | LoadedGraph> {
    if (this.#probe ?? this.#load)
      return Promise.reject(new Error("the engine is busy with another probe or load: await it first"));
    return this.#ask<LoadedModel | LoadedGraph>((waiting) => {
      this.#load = { ...waiting, onProgress };
      this.#post({ type: "load", spec });
    });
  }

  /** Starts a generation. Errors of the request come out of the iteration (and of `end` and `promptTokens`). */
  generate(request: GenerateRequest): EngineGeneration {
    const id = this.#nextId++;
    const generation: EngineGeneration = new EngineGeneration(
      {
        acknowledge: (tokens) => {
          this.#post({ type: "acknowledge", id, tokens });
          this.#watch();
        },
        cancel: () => {
          this.#generations.delete(id);
          this.#post({ type: "cancel", id });
          this.#watch();
        },
      },
      WINDOW_TOKENS,
    );
    if (this.#dead) {
      generation.failed(this.#dead);
      return generation;
    }
    const { signal } = request;
    this.#generations.set(id, generation);
    this.#post({ type: "generate", id, input: inputOf(request), ...optionsOf(request) });
    this.#watch();
    const onAbort = (): void => generation.cancel();
    if (signal?.aborted) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    const forget = (): void => signal?.removeEventListener("abort", onAbort);
    generation.end.then(forget, forget);
    return generation;
  }

  /** What the engine has done so far, and is doing; undefined before a model is loaded. Waits for the step under way. */
  stats(): Promise<EngineStats | GraphStats | undefined> {
    return this.#question((id) => ({ type: "stats", id }));
  }

  /** The ids of a text or of a conversation's prompt, as `generate` would take them. Rejects with the request's mistake. */
  tokenize(input: PromptInput): Promise<readonly number[]> {
    return this.#question((id) => ({ type: "tokenize", id, input }));
  }

  /** The text of ids; what is not UTF-8 becomes U+FFFD, ids without text become "". */
  detokenize(tokens: readonly number[]): Promise<string> {
    return this.#question((id) => ({ type: "detokenize", id, tokens }));
  }

  /** A row of numbers for each text, or for each list of ids; runs of several calls are put together. Rejects with the request's mistake, or the signal's reason. */
  embed(
    inputs: readonly EncoderInput[],
    { truncates = false, signal }: { readonly truncates?: boolean; readonly signal?: AbortSignal } = {},
  ): Promise<EmbeddedTexts> {
    return this.#work((id) => ({ type: "embed", id, inputs, truncates }), signal);
  }

  /** One run of a graph. Rejects with the runtime's words for feeds that it can't take. */
  run(feeds: Tensors, signal?: AbortSignal): Promise<Tensors> {
    return this.#work((id) => ({ type: "run", id, feeds }), signal);
  }

  #work<T>(message: (id: number) => ToEngine, signal: AbortSignal | undefined): Promise<T> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    const id = this.#nextId;
    const answer = this.#question<T>(message);
    this.#runs.add(id);
    this.#watch();
    const onAbort = (): void => {
      this.#answered(id)?.reject(signal!.reason as Error);
      this.#post({ type: "cancel", id });
      this.#watch();
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    return answer.finally(() => signal?.removeEventListener("abort", onAbort));
  }

  #question<T>(message: (id: number) => ToEngine): Promise<T> {
    return this.#ask<T>((waiting) => {
      const id = this.#nextId++;
      this.#questions.set(id, waiting as Waiting<unknown>);
      this.#post(message(id));
    });
  }

  #answered(id: number): Waiting<unknown> | undefined {
    const waiting = this.#questions.get(id);
    this.#questions.delete(id);
    this.#runs.delete(id);
    return waiting;
  }

  /** Ends the thread in good order; generations under way are rejected. Never fails; may be called twice. */
  async close(): Promise<void> {
    if (this.#dead) return;
    const stopWaiting = this.#options.after(CLOSE_GRACE_MS, () => this.#die("the engine did not close in time"));
    await new Promise<void>((resolve) => {
      this.#closing = { resolve, reject: () => resolve() };
      this.#post({ type: "close" });
    });
    stopWaiting();
  }

  #ask<T>(ask: (waiting: Waiting<T>) => void): Promise<T> {
    if (this.#dead) return Promise.reject(this.#dead);
    return new Promise<T>((resolve, reject) => {
      ask({ resolve, reject });
      this.#watch();
    });
  }

  #post(message: ToEngine): void {
    if (this.#dead === undefined) this.#thread.post(message);
  }

  #receive(message: FromEngine): void {
    if (this.#dead) return;
    switch (message.type) {
      case "ready":
        this.#ready?.resolve();
        this.#ready = undefined;
        break;
      case "probed":
        this.#probe?.resolve(message.result);
        this.#probe = undefined;
        break;
      case "loading":
        this.#load?.onProgress?.(message.progress);
        break;
      case "loaded":
        this.#load?.resolve(message.model);
        this.#load = undefined;
        break;
      case "failed":
        (this.#probe ?? this.#load)?.reject(toError(message.error));
        this.#probe = this.#load = undefined;
        break;
      case "started":
        this.#generations.get(message.id)?.started(message.promptTokens);
        break;
      case "refused":
        this.#answered(message.id)?.reject(toError(message.error));
        this.#generations.get(message.id)?.failed(toError(message.error));
        this.#generations.delete(message.id);
        break;
      case "tokenized":
        this.#answered(message.id)?.resolve(message.tokens);
        break;
      case "detokenized":
        this.#answered(message.id)?.resolve(message.text);
        break;
      case "embedded":
        this.#answered(message.id)?.resolve(message.texts);
        break;
      case "ran":
        this.#answered(message.id)?.resolve(message.outputs);
        break;
      case "step":
        for (const item of message.items) {
          this.#generations.get(item.id)?.received(item);
          if (item.end) this.#generations.delete(item.id);
        }
        break;
      case "stats":
        this.#answered(message.id)?.resolve(message.stats);
        break;
      case "broken":
        this.#die(`the model broke: ${message.reason}`);
        return;
      case "closed":
        this.#die("the engine was closed");
        return;
    }
    this.#watch();
  }

  /** Starts the silence anew if there is something to hear, else stops listening for it. */
  #watch(): void {
    this.#stopWatch?.();
    this.#stopWatch = undefined;
    if (this.#dead) return;
    const isLoading = (this.#ready ?? this.#probe ?? this.#load) !== undefined;
    const isRunning = this.#runs.size > 0 || this.#generations.values().some((generation) => generation.isActive);
    if (!isLoading && !isRunning) return;
    const silenceMs = isLoading
      ? (this.#options.loadSilenceMs ?? LOAD_SILENCE_MS)
      : (this.#options.stepSilenceMs ?? STEP_SILENCE_MS);
    // In two parts: after the process itself was stopped, messages that wait are delivered before the second runs out.
    this.#stopWatch = this.#options.after(silenceMs, () => {
      this.#stopWatch = this.#options.after(SILENCE_GRACE_MS, () => {
        this.#die(
          `the engine said nothing for ${silenceMs / 1000} s ${isLoading ? "while loading" : "during a model step"}`,
        );
      });
    });
  }

  #die(reason: string): void {
    if (this.#dead) return;
    const error = new EngineDeadError(reason);
    this.#dead = error;
    this.#stopWatch?.();
    this.#thread.terminate();
    const waiting = [this.#ready, this.#probe, this.#load, ...this.#questions.values()];
    for (const one of waiting) one?.reject(error);
    this.#questions.clear();
    this.#runs.clear();
    for (const generation of this.#generations.values()) generation.failed(error);
    this.#generations.clear();
    if (this.#closing) this.#closing.resolve();
    else this.#options.onDead?.(reason);
  }
}

function inputOf(request: GenerateRequest): PromptInput {
  if ("messages" in request) {
    const { messages, tools, values } = request;
    return { messages, ...(tools && { tools }), ...(values && { values }) };
  }
  return "prompt" in request ? { prompt: request.prompt } : { promptTokens: request.promptTokens };
}

function optionsOf(request: GenerateRequest): GenerateOptions {
  const { sampling, maxTokens, minTokens, stop = [], logprobs, generated, grammar, caller, cacheSalt } = request;
  const { stopTokens, includesStop, ignoresEnd, allowedTokens, showsControl, promptLogprobs } = request;
  return {
    sampling: { ...GREEDY, ...sampling },
    maxTokens,
    stop,
    ...(minTokens === undefined ? {} : { minTokens }),
    ...(stopTokens === undefined ? {} : { stopTokens }),
    ...(includesStop === undefined ? {} : { includesStop }),
    ...(ignoresEnd === undefined ? {} : { ignoresEnd }),
    ...(allowedTokens === undefined ? {} : { allowedTokens }),
    ...(showsControl === undefined ? {} : { showsControl }),
    ...(logprobs === undefined ? {} : { logprobs }),
    ...(promptLogprobs === undefined ? {} : { promptLogprobs }),
    ...(generated === undefined ? {} : { generated }),
    ...(grammar === undefined ? {} : { grammar }),
    ...(caller === undefined ? {} : { caller }),
    ...(cacheSalt === undefined ? {} : { cacheSalt }),
  };
}
