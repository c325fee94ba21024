/** The engine thread's side of a graph: texts through an embedder, tensors straight, one run at a time. */
import { Embedder, type EmbedOptions, type EncoderInput } from "./embedder.ts";
import { type GraphDescription, textTaskOf } from "./graph-model.ts";
import { GRAPH_RUNS_MAX } from "./limits.ts";
import type { GraphSession } from "./providers/graph-session.ts";
import { EngineFullError } from "./refusals.ts";
import type { GraphStats } from "./stats.ts";
import type { Tensors } from "./tensor.ts";
import { textRun } from "./text-run.ts";
import type { EmbeddedTexts, LoadedGraph } from "./thread-messages.ts";

export interface GraphServerOptions {
  readonly session: GraphSession;
  readonly graph: GraphDescription;
  readonly notes: readonly string[];
  readonly yieldTurn: () => Promise<void>;
  /** Milliseconds on a clock that never goes back. */
  readonly now: () => number;
  /** A run is over: tells who watches that the thread lives. */
  readonly onRun: () => void;
}

export class GraphServer {
  readonly #options: GraphServerOptions;
  readonly #embedder: Embedder | undefined;
  readonly #calls = new Map<number, AbortController>();
  /** Calls of `run` that aren't answered yet. */
  #tensorCalls = 0;
  /** Runs that wait or are under way. */
  #runs = 0;
  /** Calls that the run under way is for. */
  #running = 0;
  readonly #done = { promptTokens: 0, runs: 0, runMs: 0, stop: 0, cancelled: 0 };
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: GraphServerOptions) {
    const { graph, yieldTurn } = options;
    const { text } = graph;
    this.#options = options;
    if (text !== undefined && textTaskOf(graph) !== undefined)
      this.#embedder = new Embedder(
        text,
        textRun(graph, text, (feeds) => this.#inTurn(feeds, () => this.#embedder!.callsInRun)),
        yieldTurn,
      );
  }

  /** What the thread tells of it. */
  get facts(): LoadedGraph {
    const { session, graph, notes } = this.#options;
    const { inputs, outputs, text } = graph;
    return {
      kind: "graph",
      provider: session.provider,
      notes,
      cpuNodes: session.cpuNodes,
      inputs,
      outputs,
      text:
        text === undefined || this.#embedder === undefined
          ? undefined
          : {
              task: textTaskOf(graph)!,
              maxTokens: text.maxTokens,
              labels: text.labels,
              isMultiLabel: text.isMultiLabel,
            },
    };
  }

  get stats(): GraphStats {
    const { stop, cancelled, ...done } = this.#done;
    // A call that was called off may still have a part in the run.
    const waiting = Math.max(0, this.#calls.size + this.#tensorCalls - this.#running);
    return { kind: "graph", running: this.#running, waiting, ...done, finished: { stop, cancelled } };
  }

  /** For texts; throws where the graph knows none. */
  get texts(): Embedder {
    if (this.#embedder === undefined)
      throw new Error(
        "this model takes tensors, not texts: its folder has no tokenizer.json, or it wants or gives what isn't known of texts",
      );
    return this.#embedder;
  }

  async embed(id: number, inputs: readonly EncoderInput[], options: EmbedOptions): Promise<EmbeddedTexts> {
    const leaving = new AbortController();
    this.#calls.set(id, leaving);
    try {
      const { vectors, tokens } = await this.texts.embed(inputs, { ...options, signal: leaving.signal });
      this.#done.promptTokens += tokens;
      this.#done.stop++;
      return { vectors, tokens };
    } finally {
      this.#calls.delete(id);
    }
  }

  /** Rejects with what the runtime says of feeds that it can't take. */
  async run(feeds: Tensors): Promise<Tensors> {
    if (this.#runs >= GRAPH_RUNS_MAX)
      throw new EngineFullError(`${this.#runs} runs wait already: the model takes no more`);
    this.#tensorCalls++;
    try {
      const outputs = await this.#inTurn(feeds, () => 1);
      this.#done.stop++;
      return outputs;
    } finally {
      this.#tensorCalls--;
    }
  }

  /** Calls off what `embed` was asked for under this id. */
  cancel(id: number): void {
    const leaving = this.#calls.get(id);
    if (leaving === undefined) return;
    this.#calls.delete(id);
    this.#done.cancelled++;
    leaving.abort();
  }

  /** Waits for the run under way. */
  async close(): Promise<void> {
    for (const leaving of this.#calls.values()) leaving.abort();
    await this.#last;
    await this.#options.session.release();
  }

  /** ONNX Runtime takes one run at a time. `calls`: how many it is for. */
  #inTurn(feeds: Tensors, calls: () => number): Promise<Tensors> {
    const { session, onRun, yieldTurn, now } = this.#options;
    this.#runs++;
    const run = this.#last.then(async () => {
      const began = now();
      this.#running = calls();
      try {
        return await session.run(feeds);
      } finally {
        this.#runs--;
        this.#running = 0;
        this.#done.runs++;
        this.#done.runMs += now() - began;
        onRun();
      }
    });
    // A run of the add-on holds the thread up: messages that wait come before the next.
    this.#last = run.catch(() => undefined).then(yieldTurn);
    return run;
  }
}
