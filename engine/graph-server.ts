/** The engine thread's side of a graph: texts through an embedder, tensors straight, one run at a time. */
import { Embedder, type EmbedOptions, type EncoderInput } from "./embedder.ts";
import { type GraphDescription, textTaskOf } from "./graph-model.ts";
import { GRAPH_RUNS_MAX } from "./limits.ts";
import type { GraphSession } from "./providers/graph-session.ts";
import { EngineFullError } from "./refusals.ts";
import type { Tensors } from "./tensor.ts";
import { textRun } from "./text-run.ts";
import type { EmbeddedTexts, LoadedGraph } from "./thread-messages.ts";

export interface GraphServerOptions {
  readonly session: GraphSession;
  readonly graph: GraphDescription;
  readonly notes: readonly string[];
  readonly yieldTurn: () => Promise<void>;
  /** A run is over: tells who watches that the thread lives. */
  readonly onRun: () => void;
}

export class GraphServer {
  readonly #options: GraphServerOptions;
  readonly #embedder: Embedder | undefined;
  readonly #calls = new Map<number, AbortController>();
  #runs = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: GraphServerOptions) {
    const { graph, yieldTurn } = options;
    const { text } = graph;
    this.#options = options;
    if (text !== undefined && textTaskOf(graph) !== undefined)
      this.#embedder = new Embedder(
        text,
        textRun(graph, text, (feeds) => this.#inTurn(feeds)),
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
      return { vectors, tokens };
    } finally {
      this.#calls.delete(id);
    }
  }

  /** Rejects with what the runtime says of feeds that it can't take. */
  run(feeds: Tensors): Promise<Tensors> {
    if (this.#runs >= GRAPH_RUNS_MAX)
      return Promise.reject(new EngineFullError(`${this.#runs} runs wait already: the model takes no more`));
    return this.#inTurn(feeds);
  }

  /** Calls off what `embed` was asked for under this id. */
  cancel(id: number): void {
    this.#calls.get(id)?.abort();
  }

  /** Waits for the run under way. */
  async close(): Promise<void> {
    for (const leaving of this.#calls.values()) leaving.abort();
    await this.#last;
    await this.#options.session.release();
  }

  /** ONNX Runtime takes one run at a time. */
  #inTurn(feeds: Tensors): Promise<Tensors> {
    const { session, onRun, yieldTurn } = this.#options;
    this.#runs++;
    const run = this.#last.then(async () => {
      try {
        return await session.run(feeds);
      } finally {
        this.#runs--;
        onRun();
      }
    });
    // A run of the add-on holds the thread up: messages that wait come before the next.
    this.#last = run.catch(() => undefined).then(yieldTurn);
    return run;
  }
}
