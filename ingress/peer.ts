/**
 * What an ingress knows of one replica: whether it may be used, how much it has in hand, how fast it is.
 * Knows no policy (pick.ts) and no socket; its link is a protocol state machine.
 */
import type { OpenHead } from "../protocol/heads.ts";
import { LINK_QUIET_MS } from "../protocol/limits.ts";
import type { Stream, StreamEvents } from "../protocol/stream.ts";

/** The part of a link that forwarding needs. */
export interface Opener {
  readonly draining: boolean;
  readonly doubted: boolean;
  readonly state: string;
  /** ms since anything came. */
  silence(now: number): number;
  open(head: OpenHead, events: StreamEvents, ended?: boolean): Stream;
}

/** A load report, or a refusal, older than this, ms, is no longer believed. The safety net behind wake-ups by completions. */
export const REPORT_LIFETIME_MS = 1_000;
/** A speed not measured for this long, ms, is unknown again: else a replica that once was slow would never be tried. */
export const SPEED_LIFETIME_MS = 10_000;
/** Weight of the newest sample. */
const SMOOTHING = 0.1;
/** The speed class follows the average only when it is this far off (log2): equal replicas stay equal in spite of noise. */
const HYSTERESIS = 0.75;
/** Model ids remembered per replica. */
const MODELS_MAX = 64;

export class Peer {
  readonly replica: string;
  readonly host: string;
  /** The routing table lists it as ready. */
  ready = false;
  link: Opener | null = null;
  /** Requests this ingress has given it. */
  inFlight = 0;
  /** Requests it has from other ingresses, by its last report. */
  others = 0;
  /** Nothing was heard of it lately: it may be about to be lost. */
  quiet = false;
  /** It refused a request since its load last changed. */
  full = false;
  /** Multiplexed models it was lately asked for, oldest first. */
  readonly #models = new Set<string>();
  #reportedAt = 0;
  #average = 0;
  #speedClass = 0;
  #measuredAt = Number.NEGATIVE_INFINITY;

  constructor(replica: string, host: string) {
    this.replica = replica;
    this.host = host;
  }

  get outstanding(): number {
    return this.inFlight + this.others;
  }

  available(capacity: number): boolean {
    const link = this.link;
    return (
      link !== null &&
      this.ready &&
      !this.full &&
      this.outstanding < capacity &&
      link.state === "ready" &&
      !link.draining &&
      !link.doubted
    );
  }

  /** `load`: all requests the replica has in hand, as it said while `inFlight` of them were ours. */
  report(load: number, now: number): void {
    this.others = Math.max(0, load - this.inFlight);
    this.full = this.quiet = false;
    this.#reportedAt = now;
  }

  refused(load: number, now: number): void {
    this.report(load, now);
    this.full = true;
  }

  /** Looks whether it is heard, and forgets what has grown old. True when it may be available again. */
  refresh(now: number): boolean {
    this.quiet = this.link !== null && this.link.silence(now) > LINK_QUIET_MS;
    if (now - this.#reportedAt < REPORT_LIFETIME_MS || (!this.full && this.others === 0)) return false;
    this.full = false;
    this.others = 0;
    return true;
  }

  /** Time from opening a stream to its first output, ms. */
  measured(ms: number, now: number): void {
    const sample = Math.max(0.25, ms);
    const fresh = now - this.#measuredAt > SPEED_LIFETIME_MS;
    this.#average = fresh ? sample : this.#average + SMOOTHING * (sample - this.#average);
    this.#measuredAt = now;
    const exact = Math.log2(this.#average);
    if (fresh || Math.abs(exact - this.#speedClass) > HYSTERESIS) this.#speedClass = Math.round(exact);
  }

  /** 1 / (time to first output) in powers of two, 1/ms; null when not known. */
  speed(now: number): number | null {
    return now - this.#measuredAt > SPEED_LIFETIME_MS ? null : 2 ** -this.#speedClass;
  }

  hasModel(model: string): boolean {
    return this.#models.has(model);
  }

  askedFor(model: string): void {
    if (model === "") return;
    this.#models.delete(model);
    this.#models.add(model);
    if (this.#models.size > MODELS_MAX) this.#models.delete(this.#models.values().next().value!);
  }
}
