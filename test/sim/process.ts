/**
 * A process on a virtual machine: it can be killed (nothing of it runs any more) and frozen (SIGSTOP: everything waits, in order).
 * Whatever a process does starts in `run` or `after`, so that both hold for all of it.
 */
import type { VirtualClock } from "./clock.ts";

export class SimProcess {
  readonly name: string;
  readonly host: string;
  readonly pid: number;
  alive = true;
  frozen = false;
  /** When it was last thawed, ms; peers may have given it up meanwhile. */
  thawedAt = Number.NEGATIVE_INFINITY;
  readonly #clock: VirtualClock;
  #backlog: { label: string; run: () => void }[] = [];
  /** Called when it ends, however that comes about. */
  readonly onEnd: (() => void)[] = [];

  constructor(clock: VirtualClock, name: string, host: string, pid: number) {
    this.#clock = clock;
    this.name = `${name}.${pid}`;
    this.host = host;
    this.pid = pid;
  }

  /** Now, or when it is thawed, or never. */
  run(label: string, action: () => void): void {
    if (!this.alive) return;
    if (this.frozen) this.#backlog.push({ label, run: action });
    else action();
  }

  after(ms: number, label: string, action: () => void): () => void {
    let live = true;
    this.#clock.after(ms, `${this.name} ${label}`, () => live && this.run(label, () => live && action()));
    return () => void (live = false);
  }

  freeze(): void {
    this.frozen = true;
  }

  thaw(): void {
    if (!this.frozen || !this.alive) return;
    this.frozen = false;
    this.thawedAt = this.#clock.now;
    const backlog = this.#backlog;
    this.#backlog = [];
    for (const { label, run } of backlog)
      this.#clock.after(0, `${this.name} late ${label}`, () => this.run(label, run));
  }

  kill(): void {
    if (!this.alive) return;
    this.alive = false;
    this.#backlog = [];
    for (const ended of this.onEnd.splice(0)) ended();
  }
}
