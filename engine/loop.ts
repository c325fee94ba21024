/**
 * Drives a runner by the scheduler: asks for the next step, runs it, hands tokens to their sequences, sends out what became text.
 * Sequences join and leave between steps. Knows nothing of threads; time and turn-taking are arguments.
 */
import { PREFILL_CHUNK_TOKENS, SEQUENCES_MAX, WINDOW_TOKENS } from "./limits.ts";
import { PromptTooLongError } from "./prompt-too-long.ts";
import { checkSampling } from "./sampler.ts";
import { type Step, nextStep } from "./scheduler.ts";
import { type GenerationRequest, type Output, Sequence, type TokenText, type Usage } from "./sequence.ts";
import type { Runner } from "./types.ts";

/** Receives what a generation produces, in order, during the loop's steps. After an end or an error nothing follows. */
export interface GenerationListener {
  onOutput(output: Output, usage: Usage): void;
  /** The engine broke; every running generation gets it. */
  onError(error: Error): void;
}

export interface EngineLoopOptions {
  readonly runner: Runner;
  readonly text: TokenText;
  /** Lets the host deliver messages between steps: a model step may block the thread. */
  readonly yieldTurn: () => Promise<void>;
  /** After each step that ran. */
  readonly onStep?: () => void;
  /** The runner failed or gave garbage: nothing can run any more. */
  readonly onBroken?: (error: Error) => void;
  readonly prefillChunk?: number;
  readonly windowTokens?: number;
}

interface Running {
  readonly sequence: Sequence;
  readonly listener: GenerationListener;
}

export class EngineLoop {
  readonly #options: EngineLoopOptions;
  readonly #prefillChunk: number;
  /** In the scheduler's order. */
  #running: Running[] = [];
  #previous: "prefill" | "decode" = "decode";
  #turning: Promise<void> | undefined;
  #broken: Error | undefined;

  constructor(options: EngineLoopOptions) {
    this.#options = options;
    this.#prefillChunk = options.prefillChunk ?? PREFILL_CHUNK_TOKENS;
  }

  /** Generations that wait, run or are paused. */
  get size(): number {
    return this.#running.length;
  }

  /** Starts a generation under an id of the caller's. Throws where the request can't be served, with the reason. */
  submit(id: number, request: GenerationRequest, listener: GenerationListener): void {
    if (this.#broken) throw this.#broken;
    const { runner, text } = this.#options;
    const { promptTokens, maxTokens } = request;
    if (this.#running.length >= SEQUENCES_MAX)
      throw new Error(`the engine is full: ${SEQUENCES_MAX} generations run or wait`);
    if (promptTokens.length === 0) throw new RangeError("the prompt is empty: give at least one token");
    if (promptTokens.length >= runner.slotLength) {
      throw new PromptTooLongError(
        `the prompt has ${promptTokens.length} tokens, but a slot holds ${runner.slotLength} for prompt and answer together: ` +
          "shorten the prompt, or load the model with longer slots",
      );
    }
    const foreign = promptTokens.find(
      (token) => !Number.isInteger(token) || token < 0 || token >= runner.config.vocabulary,
    );
    if (foreign !== undefined)
      throw new RangeError(`token ${foreign} is not in the vocabulary of ${runner.config.vocabulary}`);
    if (maxTokens !== undefined && !(Number.isInteger(maxTokens) && maxTokens > 0)) {
      throw new RangeError(`maxTokens must be a whole number above 0, not ${maxTokens}`);
    }
    checkSampling(request.sampling);
    const sequence = new Sequence(id, request, text, {
      slotLength: runner.slotLength,
      windowTokens: this.#options.windowTokens ?? WINDOW_TOKENS,
    });
    this.#running.push({ sequence, listener });
    this.#wake();
  }

  /** Ends a generation at the next token boundary, without output. Unknown ids are ignored: it may just have ended. */
  cancel(id: number): void {
    this.#running = this.#running.filter(({ sequence }) => sequence.id !== id);
  }

  /** The consumer of `id` took `count` tokens. */
  acknowledge(id: number, count: number): void {
    this.#running.find(({ sequence }) => sequence.id === id)?.sequence.acknowledge(count);
    this.#wake();
  }

  /** Resolves when nothing can run any more: all ended or paused. */
  async idle(): Promise<void> {
    await this.#turning;
  }

  /** Drops all generations, without output, and resolves when the step under way, if any, is over. */
  async close(): Promise<void> {
    this.#running = [];
    this.#broken = new Error("the engine is closed");
    await this.idle();
  }

  #wake(): void {
    this.#turning ??= this.#turn();
  }

  async #turn(): Promise<void> {
    try {
      for (;;) {
        // First, so that generations which arrive together start together.
        await this.#options.yieldTurn();
        const step = nextStep(
          this.#running.map(({ sequence }) => sequence),
          { slots: this.#options.runner.slots, prefillChunk: this.#prefillChunk },
          this.#previous,
        );
        if (step.kind === "idle") {
          // In the same turn as the decision: who comes later must start a new round.
          this.#turning = undefined;
          return;
        }
        await this.#run(step);
        this.#options.onStep?.();
      }
    } catch (cause) {
      this.#fail(cause instanceof Error ? cause : new Error(String(cause)));
    }
  }

  async #run(step: Exclude<Step, { kind: "idle" }>): Promise<void> {
    const { runner } = this.#options;
    switch (step.kind) {
      case "move": {
        const sequence = this.#sequence(step.id);
        await runner.copySlot(step.from, step.to, step.length);
        sequence.slot = step.to;
        return;
      }
      case "evict": {
        const evicted = this.#running.find(({ sequence }) => sequence.id === step.id)!;
        evicted.sequence.slot = undefined;
        evicted.sequence.cached = 0;
        this.#running = [...this.#running.filter((running) => running !== evicted), evicted];
        return;
      }
      case "prefill": {
        this.#previous = "prefill";
        const sequence = this.#sequence(step.id);
        const isLast = step.start + step.count === sequence.length;
        sequence.slot = step.slot;
        const logits = await runner.prefill(step.slot, sequence.slice(step.start, step.count), step.start, isLast);
        sequence.cached = step.start + step.count;
        if (logits) this.#advance(sequence, logits);
        return;
      }
      case "decode":
        return this.#decode(step.rows);
    }
  }

  async #decode(rows: readonly (number | undefined)[]): Promise<void> {
    this.#previous = "decode";
    const { runner } = this.#options;
    const { vocabulary } = runner.config;
    const holders = new Map(this.#running.map(({ sequence }) => [sequence.slot, sequence]));
    // A filler row writes where its slot's holder, if any, writes next anyway.
    const tokens = Int32Array.from(rows, (_, slot) => holders.get(slot)?.nextInput ?? 0);
    const positions = Int32Array.from(rows, (_, slot) => holders.get(slot)?.cached ?? 0);
    const logits = await runner.decode(tokens, positions);
    rows.forEach((id, row) => {
      const sequence = holders.get(row);
      if (id === undefined || sequence?.id !== id) return;
      sequence.cached++;
      this.#advance(sequence, logits.subarray(row * vocabulary, (row + 1) * vocabulary));
    });
  }

  /** Takes in a sequence's logits, unless it was cancelled while they were computed. */
  #advance(sequence: Sequence, logits: Float32Array): void {
    const running = this.#running.find((candidate) => candidate.sequence === sequence);
    if (running === undefined) return;
    const output = sequence.advance(logits);
    if (output.finishReason !== undefined) this.#running = this.#running.filter((candidate) => candidate !== running);
    running.listener.onOutput(output, sequence.usage);
  }

  #sequence(id: number): Sequence {
    return this.#running.find(({ sequence }) => sequence.id === id)!.sequence;
  }

  #fail(error: Error): void {
    this.#broken ??= error;
    const listeners = this.#running.map(({ listener }) => listener);
    this.#running = [];
    for (const listener of listeners) listener.onError(error);
    this.#options.onBroken?.(error);
  }
}
