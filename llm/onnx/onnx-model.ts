/** Any ONNX file as user code holds it: a client of the engine's thread. Knows neither files nor providers. */
import type { EncoderInput, GraphStats, Shapes, Tensors, TextTask, ValueFacts } from "../../engine/index.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { ONNX_BATCH_DEFAULT, ONNX_CALLS_MAX } from "../../protocol/limits.ts";
import { batch, type Batched } from "../../serve/batch.ts";
import { ambientContext } from "../../serve/context.ts";
import { type Device, type EngineGraph, engineHost } from "../host.ts";
import { SLOT_LENGTH_DEFAULT } from "../language-model.ts";
import { checkFeeds } from "./feeds.ts";
import { apart, grouped, hasBatchAxis, hasOpenRows, joined, rowsOf } from "./rows.ts";

/** What `OnnxModel.load` may be told. */
export interface OnnxOptions {
  /** "auto": the best that this replica may use. */
  readonly device?: Device;
  /**
   * Rows of one run, of all calls that are put together; 1 for none. Default 32 where all inputs and outputs declare one name as their first
   * size, else 1. Saying it for another graph says that its rows are strangers to each other.
   */
  readonly maxBatch?: number;
  /** How long the first call of a batch waits for others, ms. Default 0: what comes while a run is under way goes into the next. */
  readonly batchWaitMs?: number;
  /**
   * Shapes of the inputs, by name, or tensors, to run before the model is ready: shaders are compiled and memory is taken then. On a GPU the numbers must
   * be those of a CPU, else another provider is taken. Texts need none: they are tried in any case.
   */
  readonly warmUp?: readonly Shapes[];
}

/** How a call is made. */
export interface OnnxCallOptions {
  /** Calls it off. Default: the request's own, where there is ambient context (Node). */
  readonly signal?: AbortSignal;
  /** Texts: one that is too long loses its end; it is refused where absent. */
  readonly truncate?: boolean;
}

/** A class and how likely it is, from 0 to 1. */
export interface Classified {
  readonly label: string;
  readonly score: number;
}

interface Call {
  readonly feeds: Tensors;
  readonly signal: AbortSignal | undefined;
}

/** An ONNX model in an engine of this replica's: `await OnnxModel.load(name)`, then `run`, and `embed` or `classify` where it takes texts. */
export class OnnxModel {
  readonly name: string;
  readonly #graph: EngineGraph;
  readonly #batched: Batched<Call, Tensors> | undefined;
  #calls = 0;

  private constructor(name: string, graph: EngineGraph, { maxBatch, batchWaitMs }: OnnxOptions) {
    this.name = name;
    this.#graph = graph;
    const most = maxBatch ?? ONNX_BATCH_DEFAULT;
    if (most > 1 && (maxBatch === undefined ? hasBatchAxis(graph) : hasOpenRows(graph)))
      this.#batched = batch((calls: Call[]) => this.#runTogether(calls, most), {
        maxBatchSize: most,
        batchWaitTimeoutS: (batchWaitMs ?? 0) / 1000,
      });
  }

  /**
   * Loads a model: the path of an ONNX file or of a repository's folder with one, `hf:owner/repository[:file.onnx]`, or `https://host/file.onnx#sha256=<hash>`. Call it in `init()`. Rejects with `UNAVAILABLE` outside of a
   * replica, with `INVALID_ARGUMENT` for what is a language model or for options that make no sense, and with the host's sentence when it can't be loaded.
   */
  static async load(name: string, options: OnnxOptions = {}): Promise<OnnxModel> {
    const host = engineHost(`OnnxModel.load("${name}")`);
    checkOptions(options);
    const { device = "auto", warmUp = [] } = options;
    const graph = await host.load({ name, device, slotLength: SLOT_LENGTH_DEFAULT, slots: undefined, warmUp });
    try {
      if (!("kind" in graph))
        throw new SkeinError(
          "INVALID_ARGUMENT",
          `"${name}" is a language model: LanguageModel of \`skein/llm\` runs it.`,
        );
      return new OnnxModel(name, graph, options);
    } catch (error) {
      await graph.close();
      throw error;
    }
  }

  /** "native", "wasm" or "webgpu". */
  get provider(): string {
    return this.#graph.provider;
  }
  /** Names, types and shapes that the file declares; a size is a name where it is known at run time only. */
  get inputs(): readonly ValueFacts[] {
    return this.#graph.inputs;
  }
  get outputs(): readonly ValueFacts[] {
    return this.#graph.outputs;
  }
  /** What texts become; undefined: it takes tensors only. */
  get task(): TextTask | undefined {
    return this.#graph.text?.task;
  }
  /** Nodes that run on the CPU although the model is on a GPU, as `operator (name)`. */
  get cpuNodes(): readonly string[] {
    return this.#graph.cpuNodes;
  }

  /** Runs the graph once with these inputs. Rejects with `INVALID_ARGUMENT` that names the input and what is expected of it. */
  async run(feeds: Tensors, { signal = ambientContext()?.signal }: OnnxCallOptions = {}): Promise<Tensors> {
    checkFeeds(feeds, this.inputs);
    signal?.throwIfAborted();
    if (this.#batched === undefined) return this.#graph.run(feeds, signal);
    if (this.#calls >= ONNX_CALLS_MAX)
      throw new SkeinError("BUSY", `${this.#calls} calls of "${this.name}" wait already: it takes no more.`);
    this.#calls++;
    const answer = this.#batched({ feeds, signal }).finally(() => this.#calls--);
    return untilAborted(answer, signal);
  }

  /** A vector for each text, or list of token ids. Rejects with `INVALID_ARGUMENT` for a model of another kind, and for what is too long. */
  async embed(texts: readonly EncoderInput[], options: OnnxCallOptions = {}): Promise<readonly Float32Array[]> {
    this.#assertTask("embedding");
    return this.#rowsOf(texts, options);
  }

  /** The classes of each text, the likeliest first. Rejects as `embed` does. */
  async classify(
    texts: readonly EncoderInput[],
    options: OnnxCallOptions = {},
  ): Promise<readonly (readonly Classified[])[]> {
    this.#assertTask("classification");
    const { labels, isMultiLabel } = this.#graph.text!;
    const rows = await this.#rowsOf(texts, options);
    return rows.map((logits) => {
      const scores = isMultiLabel ? [...logits].map((x) => 1 / (1 + Math.exp(-x))) : softmax(logits);
      return scores
        .map((score, i) => ({ label: labels[i] ?? `LABEL_${i}`, score }))
        .toSorted((a, b) => b.score - a.score);
    });
  }

  /** What its engine has done and is doing; undefined where it is gone. Calls that are put together are one there. */
  stats(): Promise<GraphStats | undefined> {
    return this.#graph.stats();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#graph.close();
  }

  async #rowsOf(
    texts: readonly EncoderInput[],
    { signal = ambientContext()?.signal, truncate = false }: OnnxCallOptions,
  ): Promise<readonly Float32Array[]> {
    const options = { truncates: truncate, ...(signal === undefined ? {} : { signal }) };
    const { vectors } = await this.#graph.embed(texts, options).catch((cause: unknown) => {
      if (cause instanceof RangeError) throw new SkeinError("INVALID_ARGUMENT", cause.message, { cause });
      throw cause;
    });
    return vectors;
  }

  #assertTask(task: TextTask): void {
    if (this.task === task) return;
    const what = this.task === undefined ? "takes tensors, not texts" : `does ${this.task}`;
    throw new SkeinError("INVALID_ARGUMENT", `The model "${this.name}" ${what}, and no ${task}.`);
  }

  /** Never rejects as a whole: each run's failure is that of its calls. */
  async #runTogether(calls: readonly Call[], most: number): Promise<(Tensors | Error)[]> {
    const results = new Map<Call, Tensors | Error>();
    // Who has left isn't told any more: `untilAborted` was first.
    const staying = calls.filter(({ signal }) => signal?.aborted !== true);
    for (const group of grouped(staying, most)) {
      try {
        const feeds = group.map((call) => call.feeds);
        const outputs = apart(await this.#graph.run(joined(feeds)), feeds.map(rowsOf));
        group.forEach((call, i) => results.set(call, outputs[i]!));
      } catch (error) {
        for (const call of group) results.set(call, error instanceof Error ? error : new Error(String(error)));
      }
    }
    return calls.map((call) => results.get(call) ?? {});
  }
}

function checkOptions({ maxBatch = 1, batchWaitMs = 0 }: OnnxOptions): void {
  const isWhole = Number.isSafeInteger(maxBatch) && maxBatch >= 1 && maxBatch <= ONNX_CALLS_MAX;
  if (!isWhole)
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `maxBatch must be a whole number from 1 to ${ONNX_CALLS_MAX}, not ${maxBatch}.`,
    );
  if (!(batchWaitMs >= 0 && batchWaitMs <= 60_000))
    throw new SkeinError("INVALID_ARGUMENT", `batchWaitMs must be from 0 to 60000, not ${batchWaitMs}.`);
}

/** A run is for several: who leaves isn't waited for, and doesn't end it. */
async function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  const left = Promise.withResolvers<never>();
  const onAbort = (): void => left.reject(signal.reason as Error);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, left.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function softmax(logits: Float32Array): number[] {
  const most = Math.max(...logits);
  const parts = [...logits].map((x) => Math.exp(x - most));
  const sum = parts.reduce((a, b) => a + b, 0);
  return parts.map((part) => part / sum);
}
