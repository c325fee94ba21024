/** What an engine has done and is doing, as plain numbers that only grow, and gauges. Knows no names of any metrics system. */
import type { FinishReason } from "./types.ts";

/** Counts of values up to each bound, in a cell of their own beyond the last. */
export interface Histogram {
  readonly bounds: readonly number[];
  /** One more than bounds; not cumulative. */
  readonly counts: readonly number[];
  readonly sum: number;
}

export interface EngineStats {
  /** Sequences that hold a slot, and that wait for one. */
  readonly running: number;
  readonly waiting: number;
  /** Positions of the KV cache that running sequences fill, of all, from 0 to 1. */
  readonly kvUsage: number;
  /** Tokens of prompts that came, and of them those whose keys and values were cached. */
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
  /** Tokens that prefill ran, those of preempted sequences again, and how long it took, ms. */
  readonly prefillTokens: number;
  readonly prefillMs: number;
  readonly generatedTokens: number;
  readonly decodeSteps: number;
  readonly decodeMs: number;
  /** Sequences that lost their slot to others. */
  readonly preemptions: number;
  readonly finished: Readonly<Record<FinishReason, number>>;
  /** From a request's arrival at the engine to its first token, seconds. */
  readonly timeToFirstToken: Histogram;
  /** Between two tokens of one sequence, seconds. */
  readonly interTokenLatency: Histogram;
}

/** The same of a graph that is no decoder: an encoder, or an ONNX file. */
export interface GraphStats {
  readonly kind: "graph";
  /** Calls of which the run under way has a part, and the others. */
  readonly running: number;
  readonly waiting: number;
  /** Tokens of texts that were answered; 0 of a graph that takes tensors. */
  readonly promptTokens: number;
  /** Runs of the graph, and how long they took, ms. */
  readonly runs: number;
  readonly runMs: number;
  /** Calls that were answered, and that were called off. */
  readonly finished: Readonly<Record<"stop" | "cancelled", number>>;
}

/** vLLM's buckets, in seconds. */
const FIRST_TOKEN_BOUNDS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
];
const INTER_TOKEN_BOUNDS = [
  0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
];

/** Collects while the engine runs. Times are in ms. */
export class StatsCollector {
  readonly #first = new HistogramCollector(FIRST_TOKEN_BOUNDS);
  readonly #between = new HistogramCollector(INTER_TOKEN_BOUNDS);
  readonly #finished: Record<FinishReason, number> = { stop: 0, length: 0, cancelled: 0 };
  #promptTokens = 0;
  #cachedPromptTokens = 0;
  #prefillTokens = 0;
  #prefillMs = 0;
  #generatedTokens = 0;
  #decodeSteps = 0;
  #decodeMs = 0;
  #preemptions = 0;

  admitted(promptTokens: number, cachedTokens: number): void {
    this.#promptTokens += promptTokens;
    this.#cachedPromptTokens += cachedTokens;
  }

  prefilled(tokens: number, ms: number): void {
    this.#prefillTokens += tokens;
    this.#prefillMs += ms;
  }

  decoded(ms: number): void {
    this.#decodeSteps++;
    this.#decodeMs += ms;
  }

  firstToken(ms: number): void {
    this.#generatedTokens++;
    this.#first.add(ms / 1_000);
  }

  nextToken(ms: number): void {
    this.#generatedTokens++;
    this.#between.add(ms / 1_000);
  }

  preempted(): void {
    this.#preemptions++;
  }

  finished(reason: FinishReason): void {
    this.#finished[reason]++;
  }

  /** All of it, now. */
  read(gauges: Pick<EngineStats, "running" | "waiting" | "kvUsage">): EngineStats {
    return {
      ...gauges,
      promptTokens: this.#promptTokens,
      cachedPromptTokens: this.#cachedPromptTokens,
      prefillTokens: this.#prefillTokens,
      prefillMs: this.#prefillMs,
      generatedTokens: this.#generatedTokens,
      decodeSteps: this.#decodeSteps,
      decodeMs: this.#decodeMs,
      preemptions: this.#preemptions,
      finished: { ...this.#finished },
      timeToFirstToken: this.#first.read(),
      interTokenLatency: this.#between.read(),
    };
  }
}

class HistogramCollector {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Array<number>(bounds.length + 1).fill(0);
  }

  add(value: number): void {
    const cell = this.#bounds.findIndex((bound) => value <= bound);
    this.#counts[cell < 0 ? this.#bounds.length : cell]!++;
    this.#sum += value;
  }

  read(): Histogram {
    return { bounds: this.#bounds, counts: [...this.#counts], sum: this.#sum };
  }
}
