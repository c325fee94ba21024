/**
 * What one end of a link believes of the other's life, from when it heard it and from when it ran itself. Pure: time comes in.
 * Where this side had not run for long, the peer was not silent: nobody listened, and our own silence may have made it close.
 */
import { AWAY_AFTER_MS, LINK_SILENCE_MAX_MS, PING_INTERVAL_MS } from "./limits.ts";

export class Liveness {
  /** This side was away, and the peer has not answered a ping since: it may have closed its socket, and we have not read that yet. */
  doubted = false;
  #ranAt: number;
  #heardAt: number;
  #pingedAt: number;
  /** The ping, by its nonce, whose answer ends the doubt. */
  #trustFrom = 0;

  constructor(now: number) {
    this.#ranAt = this.#heardAt = this.#pingedAt = now;
  }

  /** When this side last ran, as far as it was told, ms. */
  get ranAt(): number {
    return this.#ranAt;
  }

  /** This side runs. Returns for how long it was away, ms; 0: it was not. */
  ran(now: number): number {
    const away = now - this.#ranAt;
    this.#ranAt = now;
    if (away <= AWAY_AFTER_MS) return 0;
    this.#heardAt = now;
    return away;
  }

  heard(now: number): void {
    this.#heardAt = now;
  }

  /** ms since anything was heard. */
  silence(now: number): number {
    return now - this.#heardAt;
  }

  silent(now: number): boolean {
    return this.silence(now) > LINK_SILENCE_MAX_MS;
  }

  /** Until the next ping, which is due at once, is answered. */
  doubt(now: number): void {
    this.doubted = true;
    this.#trustFrom = now >>> 0;
    this.#pingedAt = Number.NEGATIVE_INFINITY;
  }

  /** Nonce of a ping to send now; null: none is due. */
  ping(now: number): number | null {
    if (now - this.#pingedAt < PING_INTERVAL_MS) return null;
    this.#pingedAt = now;
    return now >>> 0;
  }

  /** True: that was the end of a doubt. Nonces wrap around: later is less than half a turn ahead. */
  answered(nonce: number): boolean {
    if (!this.doubted || (nonce - this.#trustFrom) >>> 0 >= 2 ** 31) return false;
    this.doubted = false;
    return true;
  }
}
