/** Streams of one batch: lists come from one generator, each caller reads its own column at its own pace, within a bound. */
import { BATCH_PIECES_AHEAD } from "../protocol/limits.ts";

/** In a list that a batched generator yields: this caller's stream ends here (Ray: `StopIteration`). */
export const BATCH_END: unique symbol = Symbol("skein.batch.end");

/** One caller's column. */
export class StreamCall<A, R> {
  readonly item: A;
  readonly model: string;
  readonly #pieces: R[] = [];
  #ended = false;
  #failure: { readonly reason: unknown } | undefined;
  #reader: (() => void) | undefined;
  #writer: (() => void) | undefined;

  constructor(item: A, model: string) {
    this.item = item;
    this.model = model;
  }

  get ended(): boolean {
    return this.#ended;
  }

  push(piece: R | Error | typeof BATCH_END): void {
    if (this.#ended) return;
    if (piece === BATCH_END) return this.end();
    if (piece instanceof Error) return this.end(piece);
    this.#pieces.push(piece);
    this.#reader?.();
  }

  /** What was pushed is still read, then `reason` is thrown, if there is one. */
  end(reason?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    if (reason !== undefined) this.#failure = { reason };
    this.#reader?.();
    this.#writer?.();
  }

  /** Undefined when there is room for a piece, or no need of it. */
  room(): Promise<void> | undefined {
    if (this.#ended || this.#pieces.length < BATCH_PIECES_AHEAD) return undefined;
    return new Promise((resolve) => (this.#writer = resolve));
  }

  async *read(): AsyncGenerator<R, void, undefined> {
    try {
      for (;;) {
        while (this.#pieces.length > 0) {
          const piece = this.#pieces.shift() as R;
          this.#writer?.();
          yield piece;
        }
        if (this.#failure !== undefined) throw this.#failure.reason;
        if (this.#ended) return;
        await new Promise<void>((resolve) => (this.#reader = resolve));
      }
    } finally {
      this.end();
    }
  }
}

/** Runs the generator until it ends or nobody reads. Never rejects: what it throws is every caller's. */
export async function runStreams<A, R>(
  calls: readonly StreamCall<A, R>[],
  start: () => Promise<AsyncIterator<unknown> | Iterator<unknown>>,
  checked: (list: unknown, length: number) => readonly unknown[],
): Promise<void> {
  let lists: AsyncIterator<unknown> | Iterator<unknown> | undefined;
  try {
    lists = await start();
    while (calls.some((call) => !call.ended)) {
      const { done, value } = await lists.next();
      if (done === true) {
        lists = undefined;
        break;
      }
      checked(value, calls.length).forEach((piece, i) => calls[i]!.push(piece as R));
      for (const call of calls) await call.room();
    }
  } catch (error) {
    for (const call of calls) call.end(error);
  }
  for (const call of calls) call.end();
  try {
    await lists?.return?.();
  } catch {
    // Nobody is left to hear of it.
  }
}
