/**
 * One deployment at one ingress: its replicas, the requests that wait for one, the retry budget.
 * Woken by completions, links and tables; the tick only corrects stale load reports.
 */
import type { FailHead } from "../protocol/heads.ts";
import { QUEUE_MAX } from "../protocol/limits.ts";
import type { RoutedDeployment } from "../protocol/routes.ts";
import type { Backlog } from "./backlog.ts";
import type { Peer } from "./peer.ts";
import { pick, type PickRequest } from "./pick.ts";
import { Queue, type Queued } from "./queue.ts";
import { RetryBudget } from "./retry.ts";

export interface Waiter extends Queued, PickRequest {
  /** Opens on this replica; what fails at once comes back by `again`. */
  assign(peer: Peer): void;
  reject(fail: FailHead): void;
}

export interface PoolContext {
  readonly host: string;
  /** Of the whole ingress. */
  readonly backlog: Backlog;
  now(): number;
  random(): number;
  /** The queue became empty or is no longer empty. */
  onQueueEdge(): void;
}

export class Pool {
  readonly app: string;
  readonly deployment: string;
  readonly budget = new RetryBudget();
  readonly context: PoolContext;
  #config: RoutedDeployment;
  #peers: readonly Peer[] = [];
  readonly #queue = new Queue<Waiter>();
  #ongoing = 0;
  #pumping = false;
  #gone = false;

  constructor(config: RoutedDeployment, context: PoolContext) {
    this.app = config.app;
    this.deployment = config.name;
    this.#config = config;
    this.context = context;
  }

  get queued(): number {
    return this.#queue.length;
  }
  get ongoing(): number {
    return this.#ongoing;
  }
  get peers(): readonly Peer[] {
    return this.#peers;
  }
  /** Any request may run twice while it has produced nothing. */
  get repeatsAnything(): boolean {
    return this.#config.retry === "no-output";
  }

  /** What clients are told when the queue is full. */
  get backpressure(): RoutedDeployment["backpressure"] {
    return this.#config.backpressure;
  }

  /** How to word what clients are answered in the deployment's place. */
  get errorFormat(): RoutedDeployment["errorFormat"] {
    return this.#config.errorFormat;
  }

  configure(config: RoutedDeployment, peers: readonly Peer[]): void {
    this.#config = config;
    this.#peers = peers;
    if (config.unavailable) this.#rejectAll(this.#failedToDeploy());
    else this.pump();
  }

  /** The deployment is no longer routed: what runs goes on, what waits fails. */
  close(): void {
    this.#gone = true;
    this.#rejectAll(this.#removed());
  }

  /** A new request: gets a replica now, waits, or is refused. */
  admit(waiter: Waiter): void {
    const now = this.context.now();
    this.budget.request(now);
    if (this.#gone) return waiter.reject(this.#removed());
    if (this.#config.unavailable) return waiter.reject(this.#failedToDeploy());
    if (this.#queue.length === 0) {
      const peer = this.#pick(waiter, now);
      if (peer !== undefined) return waiter.assign(peer);
    }
    const limit = this.#config.maxQueuedRequests < 0 ? QUEUE_MAX : Math.min(QUEUE_MAX, this.#config.maxQueuedRequests);
    if (this.#queue.length >= limit)
      return waiter.reject({
        code: "BACKPRESSURE",
        message: `Request dropped due to backpressure (num_queued_requests=${this.#queue.length}, max_queued_requests=${limit}).`,
      });
    this.#queue.push(waiter);
    if (this.#queue.length === 1) this.context.onQueueEdge();
  }

  /** A request that came back from a replica, to be sent to another. It was admitted once: no limit applies. */
  again(waiter: Waiter): void {
    if (this.#gone) return waiter.reject(this.#removed());
    this.#queue.putBack(waiter);
    if (this.#queue.length === 1) this.context.onQueueEdge();
    this.pump();
  }

  /** The waiter is no longer interested. */
  leave(waiter: Waiter): void {
    if (this.#queue.remove(waiter) && this.#queue.length === 0) this.context.onQueueEdge();
  }

  taken(peer: Peer): void {
    peer.inFlight += 1;
    this.#ongoing += 1;
  }

  released(peer: Peer): void {
    peer.inFlight -= 1;
    this.#ongoing -= 1;
    if (this.#queue.length > 0) this.pump();
  }

  /** Gives replicas to those who wait, in order, as far as there are any. */
  pump(): void {
    if (this.#pumping || this.#queue.length === 0) return;
    this.#pumping = true;
    const now = this.context.now();
    for (let waiter = this.#queue.first(); waiter !== undefined; waiter = this.#queue.first()) {
      const peer = this.#pick(waiter, now);
      if (peer === undefined) break;
      this.#queue.remove(waiter);
      waiter.assign(peer);
    }
    this.#pumping = false;
    if (this.#queue.length === 0) this.context.onQueueEdge();
  }

  #pick(waiter: Waiter, now: number): Peer | undefined {
    return pick(this.#peers, this.#config.maxOngoingRequests, waiter, {
      host: this.context.host,
      now,
      random: this.context.random,
    });
  }

  #rejectAll(fail: FailHead): void {
    const waiting = this.#queue.drain();
    for (const waiter of waiting) waiter.reject(fail);
    if (waiting.length > 0) this.context.onQueueEdge();
  }

  #failedToDeploy(): FailHead {
    return {
      code: "UNAVAILABLE",
      message: `Deployment(name='${this.deployment}', app='${this.app}') is unavailable because it failed to deploy.`,
    };
  }

  #removed(): FailHead {
    return {
      code: "UNAVAILABLE",
      message: `Deployment(name='${this.deployment}', app='${this.app}') was removed while the request waited.`,
    };
  }
}
