/**
 * Drives a runner by the scheduler: asks for the next step, runs it, hands tokens to their sequences, sends out what became text.
 * Sequences join and leave between steps. Knows nothing of threads; time and turn-taking are arguments.
 */
import type { Choice, Draw } from "./choice.ts";
import { Chooser } from "./chooser.ts";
import { checkRequest, promptScoresOf } from "./check-request.ts";
import {
  PATIENCE_MS,
  PREFILL_BESIDE_DECODE_TOKENS,
  PREFILL_CHUNK_TOKENS,
  PREFILL_RUN_COST_TOKENS,
  PREFIX_TOKENS_MIN,
  PROMPT_SCORES_WAITING_MAX,
  SEQUENCES_MAX,
  WINDOW_TOKENS,
} from "./limits.ts";
import { placement } from "./placement.ts";
import { type Cached, PrefixCache } from "./prefix-cache.ts";
import { nextStep, prefillCost, type SchedulerBudget, type Step } from "./scheduler.ts";
import type { LogitsMask } from "./grammar/mask.ts";
import { EngineFullError, GrammarError } from "./refusals.ts";
import { type GenerationRequest, type Output, Sequence, type TokenText, type Usage } from "./sequence.ts";
import { type EngineStats, StatsCollector } from "./stats.ts";
import type { Runner } from "./types.ts";

/** Receives what a generation produces, in order, during the loop's steps. After an end or an error nothing follows. */
export interface GenerationListener {
  onOutput(output: Output, usage: Usage): void;
  /** The engine broke, and every running generation gets it; or this one's grammar did. */
  onError(error: Error): void;
}

export interface EngineLoopOptions {
  readonly runner: Runner;
  readonly text: TokenText;
  /** Lets the host deliver messages between steps: a model step may block the thread. */
  readonly yieldTurn: () => Promise<void>;
  /** Milliseconds on a clock that never goes back. */
  readonly now: () => number;
  /** After each step that ran. */
  readonly onStep?: () => void;
  /** The runner failed or gave garbage: nothing can run any more. */
  readonly onBroken?: (error: Error) => void;
  /** Parts of the scheduler's budget that differ from the defaults of `limits.ts`. */
  readonly budget?: Partial<Omit<SchedulerBudget, "slots">>;
  readonly windowTokens?: number;
}

interface Running {
  readonly sequence: Sequence;
  readonly listener: GenerationListener;
  /** When it came, or its last token did. ms */
  lastAt: number;
}

export class EngineLoop {
  readonly #options: EngineLoopOptions;
  readonly #budget: SchedulerBudget;
  readonly #prefixes = new PrefixCache(PREFIX_TOKENS_MIN);
  readonly #stats = new StatsCollector();
  readonly #chooser: Chooser;
  /** In the order of arrival. */
  #running: Running[] = [];
  /** Cost of prefill since the last decode step, in tokens. */
  #spent = 0;
  /** When each caller that is here last got a slot, ms. */
  readonly #servedAt = new Map<string, number>();
  #turning: Promise<void> | undefined;
  #broken: Error | undefined;

  constructor(options: EngineLoopOptions) {
    this.#options = options;
    this.#chooser = new Chooser(options.runner.config.vocabulary);
    this.#budget = {
      slots: options.runner.slots,
      prefillChunk: PREFILL_CHUNK_TOKENS,
      prefillBesideDecode: PREFILL_BESIDE_DECODE_TOKENS[options.runner.provider],
      prefillRunCost: PREFILL_RUN_COST_TOKENS,
      patienceMs: PATIENCE_MS,
      ...options.budget,
    };
    void options.runner.lost?.then((reason) => this.#fail(new Error(reason)));
  }

  /** Generations that wait, run or are paused. */
  get size(): number {
    return this.#running.length;
  }

  get stats(): EngineStats {
    const { slots, slotLength } = this.#options.runner;
    const holding = this.#running.filter(({ sequence }) => sequence.slot !== undefined);
    const cached = holding.reduce((sum, { sequence }) => sum + sequence.cached, 0);
    return this.#stats.read({
      running: holding.length,
      waiting: this.#running.length - holding.length,
      kvUsage: cached / (slots * slotLength),
    });
  }

  /**
   * Starts a generation under an id of the caller's. Throws where the request can't be served, with the reason.
   * @param mask of the request's grammar; the loop disposes of it
   */
  submit(id: number, request: GenerationRequest, listener: GenerationListener, mask?: LogitsMask): void {
    try {
      this.#take(id, request, listener, mask);
    } catch (error) {
      mask?.dispose();
      throw error;
    }
  }

  #take(id: number, request: GenerationRequest, listener: GenerationListener, mask: LogitsMask | undefined): void {
    if (this.#broken) throw this.#broken;
    const { runner, text, now } = this.#options;
    if (this.#running.length >= SEQUENCES_MAX)
      throw new EngineFullError(`the engine is full: ${SEQUENCES_MAX} generations run or wait`);
    checkRequest(request, runner);
    const scores = [request, ...this.#running.map(({ sequence }) => sequence.request)].map(promptScoresOf);
    if (scores.reduce((sum, count) => sum + count) > PROMPT_SCORES_WAITING_MAX)
      throw new EngineFullError("the engine is full: it scores as many prompts as it can keep");
    const at = now();
    const windowTokens = this.#options.windowTokens ?? WINDOW_TOKENS;
    const sequence = new Sequence(id, request, text, { slotLength: runner.slotLength, windowTokens, now: at }, mask);
    this.#running.push({ sequence, listener, lastAt: at });
    this.#wake();
  }

  /** Ends a generation at the next token boundary, without output. Unknown ids are ignored: it may just have ended. */
  cancel(id: number): void {
    const running = this.#running.find(({ sequence }) => sequence.id === id);
    if (running !== undefined) this.#leave(running, "cancelled");
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
        const clock = { spent: this.#spent, now: this.#options.now(), servedAt: this.#servedAt };
        const sequences = this.#running.map(({ sequence }) => sequence);
        const step = nextStep(sequences, this.#prefixes.views, this.#budget, clock);
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
    const { runner, now } = this.#options;
    switch (step.kind) {
      case "admit":
        return this.#admit(this.#sequence(step.id));
      case "move": {
        if (step.id === undefined) return this.#moveKept(step.from, step.to);
        const sequence = this.#sequence(step.id);
        this.#prefixes.drop(step.to);
        await runner.copySlot(step.from, step.to, step.length);
        sequence.slot = step.to;
        return;
      }
      case "evict": {
        const { sequence } = this.#running.find((running) => running.sequence.id === step.id)!;
        this.#keep(sequence);
        sequence.evict(now());
        this.#stats.preempted();
        return;
      }
      case "prefill":
        return this.#prefill(this.#sequence(step.id), step.start, step.count);
      case "decode":
        return this.#decode(step.rows);
    }
  }

  async #admit(sequence: Sequence): Promise<void> {
    const held = new Set<number>();
    const live: Cached[] = [];
    for (const { sequence: other } of this.#running) {
      if (other.slot === undefined) continue;
      held.add(other.slot);
      live.push({ slot: other.slot, tokens: other.tokens, length: other.cached, salt: other.salt });
    }
    const prefix = this.#prefixes.find(sequence.sought, sequence.salt, live);
    const { slot, from, length, refuge } = placement(this.#budget.slots, held, this.#prefixes.views, prefix)!;
    if (refuge !== undefined) await this.#moveKept(slot, refuge);
    this.#prefixes.drop(slot);
    const { runner, now } = this.#options;
    if (from !== slot) await runner.copySlot(from, slot, length);
    // Cancelled during the copy: the slot stays free.
    if (!this.#running.some((running) => running.sequence === sequence)) return;
    if (!sequence.wasAdmitted) this.#stats.admitted(sequence.length, length);
    sequence.admit(slot, length);
    this.#servedAt.set(sequence.caller, now());
  }

  async #moveKept(from: number, to: number): Promise<void> {
    const { length } = this.#prefixes.views.find(({ slot }) => slot === from)!;
    this.#prefixes.drop(to);
    await this.#options.runner.copySlot(from, to, length);
    this.#prefixes.move(from, to);
  }

  async #prefill(sequence: Sequence, start: number, count: number): Promise<void> {
    const { runner, now } = this.#options;
    const isLast = start + count === sequence.length;
    const draw = isLast ? await this.#drawOf(sequence) : undefined;
    if (isLast && draw === undefined) return;
    const slot = sequence.slot!;
    const tokens = sequence.slice(start, count);
    const { scoresPrompt, tokenCost } = sequence;
    const began = now();
    const chosen = !scoresPrompt && draw && (await runner.choosing?.prefill(slot, tokens, start, draw));
    const logits = scoresPrompt
      ? await runner.prefillScored(slot, tokens, start)
      : chosen
        ? undefined
        : await runner.prefill(slot, tokens, start, isLast);
    this.#stats.prefilled(count, now() - began);
    this.#spent += prefillCost(count, this.#budget, tokenCost);
    sequence.cached = start + count;
    const { vocabulary } = runner.config;
    if (scoresPrompt) {
      const top = sequence.request.promptLogprobs!;
      sequence.scorePrompt(start, count, (at, token) => {
        const row = (at - start) * vocabulary;
        return this.#chooser.score(logits!.subarray(row, row + vocabulary), token, top);
      });
    }
    const choose = (): Choice => chosen || this.#chooser.choose(logits!.subarray(-vocabulary), draw!);
    if (draw !== undefined) this.#advance(sequence, choose);
  }

  async #decode(rows: readonly (number | undefined)[]): Promise<void> {
    const { runner, now } = this.#options;
    const { vocabulary } = runner.config;
    const holders = new Map(this.#running.map(({ sequence }) => [sequence.slot, sequence]));
    const keptLengths = new Map(this.#prefixes.views.map(({ slot, length }) => [slot, length]));
    // A filler row writes where its slot's holder, if any, writes next anyway, or behind what is kept.
    const tokens = Int32Array.from(rows, (_, slot) => holders.get(slot)?.nextInput ?? 0);
    const positions = Int32Array.from(rows, (_, slot) => holders.get(slot)?.cached ?? keptLengths.get(slot) ?? 0);
    const draws: (Draw | undefined)[] = [];
    // One by one, and not beside the run: each is timed.
    for (const [slot, id] of rows.entries())
      draws.push(id === undefined ? undefined : await this.#drawOf(holders.get(slot)!));
    const began = now();
    const chosen = await runner.choosing?.decode(tokens, positions, draws);
    const logits = chosen ? undefined : await runner.decode(tokens, positions);
    this.#stats.decoded(now() - began);
    this.#spent = 0;
    draws.forEach((draw, row) => {
      if (draw === undefined) return;
      const sequence = holders.get(row)!;
      sequence.cached++;
      const rowLogits = logits?.subarray(row * vocabulary, (row + 1) * vocabulary);
      this.#advance(sequence, () => chosen?.[row] ?? this.#chooser.choose(rowLogits!, draw));
    });
  }

  /** Undefined: it was cancelled, or its grammar broke, and it has left. */
  async #drawOf(sequence: Sequence): Promise<Draw | undefined> {
    await sequence.prepare();
    const running = this.#running.find((candidate) => candidate.sequence === sequence);
    return running && this.#unlessGrammarBreaks(running, () => sequence.draw());
  }

  /** Takes in what is chosen for a sequence, unless it was cancelled meanwhile. */
  #advance(sequence: Sequence, choose: () => Choice): void {
    const running = this.#running.find((candidate) => candidate.sequence === sequence);
    if (running === undefined) return;
    const isFirst = sequence.usage.completionTokens === (sequence.request.generated?.length ?? 0);
    const output = this.#unlessGrammarBreaks(running, () => sequence.advance(choose()));
    if (output === undefined) return;
    const now = this.#options.now();
    sequence.runningSince ??= now;
    if (isFirst) this.#stats.firstToken(now - running.lastAt);
    else this.#stats.nextToken(now - running.lastAt);
    running.lastAt = now;
    if (output.finishReason !== undefined) this.#leave(running, output.finishReason);
    running.listener.onOutput(output, sequence.usage);
  }

  /** Undefined: it did, and the generation has left. */
  #unlessGrammarBreaks<T>(running: Running, work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof GrammarError)) throw error;
      this.#leave(running, "cancelled");
      running.listener.onError(error);
      return undefined;
    }
  }

  #leave(running: Running, reason: Exclude<Output["finishReason"], undefined>): void {
    this.#running = this.#running.filter((candidate) => candidate !== running);
    this.#keep(running.sequence);
    running.sequence.dispose();
    this.#stats.finished(reason);
    const { caller } = running.sequence;
    if (!this.#running.some(({ sequence }) => sequence.caller === caller)) this.#servedAt.delete(caller);
  }

  /** What it holds stays, until somebody needs the slot. */
  #keep({ slot, tokens, cached, salt }: Sequence): void {
    if (slot !== undefined) this.#prefixes.keep({ slot, tokens, length: cached, salt });
  }

  #sequence(id: number): Sequence {
    return this.#running.find(({ sequence }) => sequence.id === id)!.sequence;
  }

  #fail(error: Error): void {
    if (this.#broken) return;
    this.#broken = error;
    const listeners = this.#running.map(({ listener }) => listener);
    this.#running = [];
    for (const listener of listeners) listener.onError(error);
    this.#options.onBroken?.(error);
  }
}
