/**
 * `batch`: calls that come within a short time run as one, as in Ray's `@serve.batch`. The function gets a list and returns one of the same length.
 * Timers are the platform's (`setTimeout`): a batch is user code's own business.
 */
import { ambientContext } from "./context.ts";

export interface BatchOptions {
  readonly maxBatchSize?: number;
  /** How long the first call of a batch waits for others, s. */
  readonly batchWaitTimeoutS?: number;
  readonly maxConcurrentBatches?: number;
}

interface Waiting<A, R> {
  readonly item: A;
  readonly model: string;
  resolve(result: R): void;
  reject(error: unknown): void;
}

export type Batched<A, R> = ((item: A) => Promise<R>) & {
  setMaxBatchSize(size: number): void;
  setBatchWaitTimeoutS(seconds: number): void;
};

/**
 * Wraps `run(items)` so that it is called with one item: `embed = batch(async (texts: string[]) => …, { maxBatchSize: 32 })`.
 * Defaults are Ray's: 10 items, 0.01 s, one batch at a time. Batches never mix multiplexed model ids.
 * Each call rejects when the batch throws, or returns something else than a list of equal length; an Error in the list rejects its own call.
 */
export function batch<A, R>(
  run: (items: A[]) => Promise<readonly (R | Error)[]> | readonly (R | Error)[],
  options: BatchOptions = {},
): Batched<A, R> {
  let size = check("maxBatchSize", options.maxBatchSize ?? 10, 1);
  let waitMs = check("batchWaitTimeoutS", options.batchWaitTimeoutS ?? 0.01, 0) * 1000;
  const concurrent = check("maxConcurrentBatches", options.maxConcurrentBatches ?? 1, 1);
  const queue: Waiting<A, R>[] = [];
  let running = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const start = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (queue.length === 0 || running >= concurrent) return;
    const model = queue[0]!.model;
    const taken: Waiting<A, R>[] = [];
    for (let i = 0; i < queue.length && taken.length < size;)
      if (queue[i]!.model === model) taken.push(...queue.splice(i, 1));
      else i++;
    running++;
    void finish(taken).finally(() => {
      running--;
      wake();
    });
    wake();
  };
  const wake = (): void => {
    if (queue.length === 0 || running >= concurrent) return;
    if (queue.length >= size) start();
    else timer ??= setTimeout(start, waitMs);
  };
  const finish = async (taken: readonly Waiting<A, R>[]): Promise<void> => {
    try {
      const results: unknown = await run(taken.map((waiting) => waiting.item));
      if (!Array.isArray(results))
        throw new TypeError(
          `Batched function must return a list, but returned ${results === null ? "null" : typeof results}.`,
        );
      if (results.length !== taken.length)
        throw new RangeError(
          `Batched function must return a list of the same length as its input: it got ${taken.length} items and returned ${results.length}.`,
        );
      taken.forEach((waiting, i) => {
        const result = results[i] as R | Error;
        if (result instanceof Error) waiting.reject(result);
        else waiting.resolve(result);
      });
    } catch (error) {
      for (const waiting of taken) waiting.reject(error);
    }
  };
  const batched = (item: A): Promise<R> =>
    new Promise<R>((resolve, reject) => {
      queue.push({ item, model: ambientContext()?.multiplexedModelId ?? "", resolve, reject });
      wake();
    });
  return Object.assign(batched, {
    setMaxBatchSize: (next: number) => void (size = check("maxBatchSize", next, 1)),
    setBatchWaitTimeoutS: (next: number) => void (waitMs = check("batchWaitTimeoutS", next, 0) * 1000),
  });
}

function check(name: string, value: number, min: number): number {
  if (!(Number.isFinite(value) && value >= min))
    throw new RangeError(`${name} must be a number of at least ${min}, got ${value}.`);
  return value;
}
