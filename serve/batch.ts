/**
 * `batch`: calls that come within a short time run as one, as in Ray's `@serve.batch`. The function gets a list and returns one of the same
 * length, or yields such lists: then each caller has a stream (batch-stream.ts).
 * Timers are the platform's (`setTimeout`): a batch is user code's own business.
 */
import { iteratorOf } from "./answer.ts";
import { StreamCall, runStreams, type BATCH_END } from "./batch-stream.ts";
import { ambientContext, type Context } from "./context.ts";
import { isIterable } from "./instance.ts";

/** How calls are gathered. */
export interface BatchOptions {
  /** Default 10. */
  readonly maxBatchSize?: number;
  /** How long the first call of a batch waits for others, s. Default 0.01. */
  readonly batchWaitTimeoutS?: number;
  /** Default 1. */
  readonly maxConcurrentBatches?: number;
  /** Whether the function yields lists. Default: whether it is a generator function; say it for a function that returns a generator. */
  readonly stream?: boolean;
}

interface Setters {
  /** For batches to come. Throws a RangeError below 1. */
  setMaxBatchSize(size: number): void;
  /** For batches to come, s. Throws a RangeError below 0. */
  setBatchWaitTimeoutS(seconds: number): void;
}
type BatchedCall<F> = F &
  Setters & {
    /** The same, for the request of `ctx`: it names the model and calls the item off. Without it the ambient one does, which tabs don't have. */
    within(ctx: Context): F;
  };
/** A batched function as its callers see it: one item in, one result out. */
export type Batched<A, R> = BatchedCall<(item: A) => Promise<R>>;
/** The item joins a batch when its stream is first read. */
export type BatchedStream<A, R> = BatchedCall<(item: A) => AsyncGenerator<R, void, undefined>>;

type Results<R> = readonly (R | Error)[];
type Pieces<R> = readonly (R | Error | typeof BATCH_END)[];

/**
 * Wraps `run(items)` so that it is called with one item: `embed = batch(async (texts: string[]) => …, { maxBatchSize: 32 })`.
 * Batches never mix multiplexed model ids; an item whose request is called off while it waits is left out.
 *
 * Each call rejects when the batch throws, or gives something else than a list of equal length; an Error in the list rejects its own call.
 * A generator yields such lists, a piece for each caller; `BATCH_END` in a list ends that caller's stream, and the batch ends early when
 * every caller has left. Throws a RangeError for options that can't be.
 */
export function batch<A, R>(
  run: (items: A[]) => Promise<Results<R>> | Results<R>,
  options?: BatchOptions,
): Batched<A, R>;
export function batch<A, R>(
  run: (items: A[]) => AsyncGenerator<Pieces<R>> | Generator<Pieces<R>>,
  options?: BatchOptions,
): BatchedStream<A, R>;
export function batch<A, R>(
  run: (items: A[]) => unknown,
  options: BatchOptions = {},
): Batched<A, R> | BatchedStream<A, R> {
  const stream = options.stream ?? /^(Async)?GeneratorFunction$/.test(run.constructor.name);
  return stream ? batchOfStreams<A, R>(run, options) : batchOfValues<A, R>(run, options);
}

interface ValueCall<A, R> extends Waiting<A> {
  resolve(result: R): void;
  reject(error: unknown): void;
}

function batchOfValues<A, R>(run: (items: A[]) => unknown, options: BatchOptions): Batched<A, R> {
  const queue = new BatchQueue<A, ValueCall<A, R>>(options, async (taken) => {
    try {
      const results = checkedList(await run(taken.map((call) => call.item)), taken.length) as Results<R>;
      taken.forEach((call, i) => {
        const result = results[i]!;
        if (result instanceof Error) call.reject(result);
        else call.resolve(result);
      });
    } catch (error) {
      for (const call of taken) call.reject(error);
    }
  });
  const call = (item: A, ctx: Context | undefined): Promise<R> => {
    const { promise, resolve, reject } = Promise.withResolvers<R>();
    const waiting = { item, model: ctx?.multiplexedModelId ?? "", resolve, reject };
    const stop = onAbort(ctx, (reason) => {
      queue.remove(waiting);
      reject(reason);
    });
    queue.add(waiting);
    return stop === undefined ? promise : promise.finally(stop);
  };
  return batched(call, queue.setters);
}

function batchOfStreams<A, R>(run: (items: A[]) => unknown, options: BatchOptions): BatchedStream<A, R> {
  const queue = new BatchQueue<A, StreamCall<A, R>>(
    options,
    (taken) =>
    runStreams(taken, async () => {
      const lists = await run(taken.map((call) => call.item));
      if (!isIterable(lists))
        throw new TypeError(`Batched function must yield lists, but returned ${kindOf(lists)}.`);
      return iteratorOf(lists);
    }, checkedList), // prettier-ignore
  );
  async function* call(item: A, ctx: Context | undefined): AsyncGenerator<R, void, undefined> {
    const column = new StreamCall<A, R>(item, ctx?.multiplexedModelId ?? "");
    const stop = onAbort(ctx, (reason) => {
      queue.remove(column);
      column.end(reason);
    });
    queue.add(column);
    try {
      yield* column.read();
    } finally {
      queue.remove(column);
      stop?.();
    }
  }
  return batched(call, queue.setters);
}

const batched = <A, R>(call: (item: A, ctx: Context | undefined) => R, setters: Setters): BatchedCall<(item: A) => R> =>
  Object.assign((item: A) => call(item, ambientContext()), setters, {
    within: (ctx: Context) => (item: A) => call(item, ctx),
  });

interface Waiting<A> {
  readonly item: A;
  readonly model: string;
}

/** Who waits for a batch, and when the next one starts. */
class BatchQueue<A, W extends Waiting<A>> {
  readonly setters: Setters;
  readonly #run: (taken: readonly W[]) => Promise<void>;
  readonly #concurrent: number;
  readonly #queue: W[] = [];
  #size: number;
  #waitMs: number;
  #running = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `run` never rejects. */
  constructor(options: BatchOptions, run: (taken: readonly W[]) => Promise<void>) {
    this.#run = run;
    this.#size = check("maxBatchSize", options.maxBatchSize ?? 10, 1);
    this.#waitMs = check("batchWaitTimeoutS", options.batchWaitTimeoutS ?? 0.01, 0) * 1000;
    this.#concurrent = check("maxConcurrentBatches", options.maxConcurrentBatches ?? 1, 1);
    this.setters = {
      setMaxBatchSize: (size) => void (this.#size = check("maxBatchSize", size, 1)),
      setBatchWaitTimeoutS: (seconds) => void (this.#waitMs = check("batchWaitTimeoutS", seconds, 0) * 1000),
    };
  }

  add(waiting: W): void {
    this.#queue.push(waiting);
    this.#wake();
  }

  remove(waiting: W): void {
    const at = this.#queue.indexOf(waiting);
    if (at >= 0) this.#queue.splice(at, 1);
  }

  #wake(): void {
    if (this.#queue.length === 0 || this.#running >= this.#concurrent) return;
    if (this.#queue.length >= this.#size) this.#start();
    else this.#timer ??= setTimeout(() => this.#start(), this.#waitMs);
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#queue.length === 0 || this.#running >= this.#concurrent) return;
    const { model } = this.#queue[0]!;
    const taken: W[] = [];
    for (let i = 0; i < this.#queue.length && taken.length < this.#size;)
      if (this.#queue[i]!.model === model) taken.push(...this.#queue.splice(i, 1));
      else i++;
    this.#running++;
    void this.#run(taken).finally(() => {
      this.#running--;
      this.#wake();
    });
    this.#wake();
  }
}

function onAbort(ctx: Context | undefined, then: (reason: unknown) => void): (() => void) | undefined {
  const signal = ctx?.signal;
  if (signal === undefined) return undefined;
  const listener = (): void => then(signal.reason);
  if (signal.aborted) queueMicrotask(listener);
  signal.addEventListener("abort", listener, { once: true });
  return () => signal.removeEventListener("abort", listener);
}

/** Throws in Ray's words. */
function checkedList(results: unknown, length: number): readonly unknown[] {
  if (!Array.isArray(results))
    throw new TypeError(
      `Batched function must return a list, but returned ${kindOf(results)}.` +
        (isIterable(results) ? " A function that returns a generator needs the option { stream: true }." : ""),
    );
  if (results.length !== length)
    throw new RangeError(
      `Batched function doesn't preserve batch size. The input list has length ${length} but the returned list has length ${results.length}.`,
    );
  return results;
}

const kindOf = (value: unknown): string => (value === null ? "null" : typeof value);

function check(name: string, value: number, min: number): number {
  if (!(Number.isFinite(value) && value >= min))
    throw new RangeError(`${name} must be a number of at least ${min}, got ${value}.`);
  return value;
}
