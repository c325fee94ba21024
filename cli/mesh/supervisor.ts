/**
 * Keeps one child program running: starts it, starts it again with growing pauses when it ends by itself or hangs, stops it in order.
 * Knows no process and no clock: both are arguments. What the program is, `programs.ts` knows.
 */
import { CHILD_LOOK_MS, CHILD_SILENT_LOOKS_MAX, CHILD_SILENT_LOOKS_STARTING_MAX } from "../../protocol/limits.ts";
import type { Shell } from "../shell.ts";

/** One life of a program. */
export interface Life<Ready> {
  readonly pid: number | undefined;
  /** Rejects when it could not start. */
  readonly ready: Promise<Ready>;
  /** Resolves with how it ended, in words, once the process is gone. Never rejects. */
  readonly ended: Promise<string>;
  /** Resolves when the program asks that all be ended. */
  readonly asked?: Promise<void>;
  /** How often it has said so far that it is alive. */
  signs(): number;
  /** Asks it to end in order. */
  stop(): void;
  kill(): void;
}

export interface SupervisorIo {
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  /** Calls back every `ms` until called off. */
  readonly every: (ms: number, callback: () => void) => () => void;
  /** Tells a person. */
  readonly note: (line: string) => void;
}

/** A second wish to stop cuts waits short. */
export const supervisorIo = (shell: Shell): SupervisorIo => ({
  now: shell.now,
  sleep: (ms) => shell.sleep(ms, shell.kill),
  every: shell.every,
  note: shell.note,
});

/** The first restart comes at once, ms; then twice as long each time up to the maximum. */
export const RESTART_FIRST_MS = 50;
export const RESTART_MAX_MS = 5_000;
/** A life this long, ms, counts as healthy and resets the pause. */
export const HEALTHY_AFTER_MS = 10_000;
/** Lives in a row that ended early before it is given up. */
export const RESTARTS_MAX = 12;

export class Supervisor<Ready> {
  readonly #name: string;
  readonly #launch: (again: boolean) => Life<Ready>;
  readonly #io: SupervisorIo;
  readonly #gaveUp = Promise.withResolvers<string>();
  readonly #asked = Promise.withResolvers<void>();
  #life: Life<Ready> | undefined;
  #stopping = false;
  #killed = false;
  #early = 0;

  /** `launch(again)` starts the program; `again` is false only for the first start. */
  constructor(name: string, launch: (again: boolean) => Life<Ready>, io: SupervisorIo) {
    this.#name = name;
    this.#launch = launch;
    this.#io = io;
  }

  get pid(): number | undefined {
    return this.#life?.pid;
  }

  /** Resolves with a sentence when the program keeps ending and is no longer started again. */
  get gaveUp(): Promise<string> {
    return this.#gaveUp.promise;
  }

  /** Resolves when the program asks that all be ended. */
  get asked(): Promise<void> {
    return this.#asked.promise;
  }

  /** First start: its failure is the caller's. From then on the program is kept running. */
  async start(): Promise<Ready> {
    const begun = this.#io.now();
    const life = this.#begin(false);
    const ready = await life.ready;
    void this.#watch(life, begun);
    return ready;
  }

  /** Asks the program to end, waits for `graceMs`, then kills it. Resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    const life = this.#life;
    if (life === undefined) return;
    life.stop();
    const late = Symbol("late");
    if ((await Promise.race([life.ended, this.#io.sleep(graceMs).then(() => late)])) !== late) return;
    // The wait also ends when a person has lost patience and everything was killed.
    if (!this.#killed) this.#io.note(`${this.#name} did not stop within ${Math.round(graceMs / 1000)} s: killed.`);
    life.kill();
    await life.ended;
  }

  kill(): void {
    this.#stopping = true;
    this.#killed = true;
    this.#life?.kill();
  }

  #begin(again: boolean): Life<Ready> {
    const life = this.#launch(again);
    life.ready.catch(() => {});
    void life.asked?.then(this.#asked.resolve);
    void life.ended.then(this.#looksAfter(life));
    this.#life = life;
    return life;
  }

  /** Kills a life that is silent: its end is then like any other. Looks are counted, not times (limits.ts). Returns how to stop it. */
  #looksAfter(life: Life<Ready>): () => void {
    let heard = 0;
    let silent = 0;
    return this.#io.every(CHILD_LOOK_MS, () => {
      const signs = life.signs();
      silent = signs === heard ? silent + 1 : 0;
      heard = signs;
      const bound = heard === 0 ? CHILD_SILENT_LOOKS_STARTING_MAX : CHILD_SILENT_LOOKS_MAX;
      // Stopping has a bound of its own.
      if (silent !== bound || this.#stopping) return;
      this.#io.note(`${this.#name} gave no sign of life for ${(bound * CHILD_LOOK_MS) / 1000} s: killed.`);
      life.kill();
    });
  }

  async #watch(first: Life<Ready>, firstBegun: number): Promise<void> {
    for (let life = first, begun = firstBegun; ;) {
      const how = await life.ended;
      if (this.#stopping) return;
      this.#early = this.#io.now() - begun >= HEALTHY_AFTER_MS ? 0 : this.#early + 1;
      if (this.#early > RESTARTS_MAX) {
        this.#gaveUp.resolve(`${this.#name} ended ${this.#early} times in a row (${how}).`);
        return;
      }
      this.#io.note(`${this.#name} ended (${how}): it is started again.`);
      await this.#io.sleep(Math.min(RESTART_MAX_MS, RESTART_FIRST_MS * 2 ** Math.max(0, this.#early - 1)));
      if (this.#stopping) return;
      begun = this.#io.now();
      life = this.#begin(true);
    }
  }
}
