/**
 * What may be sent to another replica after the first one was lost (design: before `open` always; after it, while nothing was produced,
 * what is safe to run twice; never what was inside two dying replicas), and the budget that keeps retries from making an outage worse.
 */
import { RETRY_BUDGET_MIN, RETRY_BUDGET_SHARE, RETRY_BUDGET_WINDOW_MS } from "../protocol/limits.ts";

const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]);

/** True for requests that may run twice by what the client said. */
export const repeatable = (method: string, hasIdempotencyKey: boolean): boolean =>
  hasIdempotencyKey || SAFE_METHODS.has(method);

/** Replicas that may die with one request inside before the request itself is the suspect. */
export const DEATHS_MAX = 2;
/** Links that may be lost with one request inside, dead or parted: nothing is tried for ever. */
export const LOSSES_MAX = 8;

export interface Lost {
  /** By method, key, or the deployment's `retry: "no-output"`. */
  readonly repeatable: boolean;
  /** A head or a piece of the answer has come. */
  readonly produced: boolean;
  /** All of the body that was sent is still in hand. */
  readonly bodyHeld: boolean;
  /** Replicas that died with this request inside, this one counted where it died. */
  readonly deaths: number;
  /** Links lost with it inside, however. */
  readonly losses: number;
}

export const mayRetry = (lost: Lost): boolean =>
  lost.repeatable && !lost.produced && lost.bodyHeld && lost.deaths < DEATHS_MAX && lost.losses < LOSSES_MAX;

const SLOTS = 10;
const SLOT_MS = RETRY_BUDGET_WINDOW_MS / SLOTS;

/** Counts requests and retries over the last window in ten slots. */
export class RetryBudget {
  readonly #requests = new Array<number>(SLOTS).fill(0);
  readonly #retries = new Array<number>(SLOTS).fill(0);
  #slot = 0;

  request(now: number): void {
    this.#turn(now);
    this.#requests[this.#slot % SLOTS]! += 1;
  }

  /** True, and counted, when one more retry is within the budget. `ongoing` requests count as traffic, however old they are. */
  take(now: number, ongoing: number): boolean {
    this.#turn(now);
    const traffic = Math.max(ongoing, sum(this.#requests));
    if (sum(this.#retries) >= RETRY_BUDGET_MIN + RETRY_BUDGET_SHARE * traffic) return false;
    this.#retries[this.#slot % SLOTS]! += 1;
    return true;
  }

  #turn(now: number): void {
    const slot = Math.floor(now / SLOT_MS);
    if (slot <= this.#slot) return;
    for (let s = Math.max(this.#slot + 1, slot - SLOTS + 1); s <= slot; s++)
      this.#requests[s % SLOTS] = this.#retries[s % SLOTS] = 0;
    this.#slot = slot;
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
