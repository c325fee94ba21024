/**
 * Threads that walk through the phases of a step together: parts are claimed one by one, so that a thread that comes late or stands still
 * keeps nobody waiting but for the part that it holds. Between steps, and where a wait is long, threads sleep. Knows no decoder.
 */
import { TEAM_LOOK_MS, TEAM_LOOKS_MAX } from "../limits.ts";
import type { Phase } from "./decoder-phases.ts";

/** Loads of a word before a thread sleeps: some 20 microseconds, longer than most phases differ. */
const SPINS = 10_000;

/** Words of the control memory, each in a cache line of its own. */
const LINE = 16;
/** Odd while a step runs; another number for each. */
const STATE = 0;
/** Members that are within a step. */
const ACTIVE = LINE;
/** Threads that sleep within a step. */
const SLEEPERS = 2 * LINE;
/** Of each phase: parts claimed, parts done. */
const PHASES = 3 * LINE;
const DONE = 1;

export const controlWords = (phases: number): number => PHASES + phases * LINE;

/** Words that start with zeros, at byte `at`. */
export const controlOf = (memory: ArrayBufferLike, at: number, phases: number): Int32Array =>
  new Int32Array(memory, at, controlWords(phases));

/** Runs a step on the calling thread alone. */
export function runAlone(phases: readonly Phase[]): void {
  for (const phase of phases) {
    const parts = phase.parts();
    for (let part = 0; part < parts; part++) phase.run(part, 0);
  }
}

/** Runs a step with whichever members are awake. Throws when one that holds a part is silent for too long. */
export function lead(control: Int32Array, phases: readonly Phase[], lookMs = TEAM_LOOK_MS): void {
  control.fill(0, PHASES);
  Atomics.add(control, STATE, 1);
  Atomics.notify(control, STATE);
  walk(control, phases, 0, lookMs);
  Atomics.add(control, STATE, 1);
  // Who is still on the way through finds every phase done; the words are used anew only when they are out.
  settle(control, ACTIVE, 0, lookMs);
}

/** Takes part in steps, as thread 1 and on, until the thread is ended from outside. */
export function follow(control: Int32Array, phases: readonly Phase[], thread: number): never {
  let last = 0;
  for (;;) {
    const state = Atomics.load(control, STATE);
    if (state === last || state % 2 === 0) {
      rest(control, state);
      continue;
    }
    last = state;
    Atomics.add(control, ACTIVE, 1);
    // Else it was over before this thread was in.
    if (Atomics.load(control, STATE) === state) walk(control, phases, thread, TEAM_LOOK_MS);
    Atomics.sub(control, ACTIVE, 1);
    if (Atomics.load(control, SLEEPERS) > 0) Atomics.notify(control, ACTIVE);
  }
}

function walk(control: Int32Array, phases: readonly Phase[], thread: number, lookMs: number): void {
  for (let i = 0; i < phases.length; i++) {
    const phase = phases[i]!;
    const claimed = PHASES + i * LINE;
    const done = claimed + DONE;
    const parts = phase.parts();
    for (let part = Atomics.add(control, claimed, 1); part < parts; part = Atomics.add(control, claimed, 1)) {
      phase.run(part, thread);
      if (Atomics.add(control, done, 1) + 1 === parts && Atomics.load(control, SLEEPERS) > 0)
        Atomics.notify(control, done);
    }
    settle(control, done, parts, lookMs);
  }
}

/** Waits until the word has the value: awake for a moment, then asleep. Looks are counted, not time: who stood still itself accuses nobody. */
function settle(control: Int32Array, word: number, value: number, lookMs: number): void {
  for (let spin = 0; spin < SPINS; spin++) if (Atomics.load(control, word) === value) return;
  Atomics.add(control, SLEEPERS, 1);
  let looks = 0;
  for (let now = Atomics.load(control, word); now !== value; now = Atomics.load(control, word)) {
    looks = Atomics.wait(control, word, now, lookMs) === "timed-out" ? looks + 1 : 0;
    if (looks === TEAM_LOOKS_MAX)
      throw new Error(`a thread of the wasm provider keeps its part of a step for more than ${looks} looks`);
  }
  Atomics.sub(control, SLEEPERS, 1);
}

/** Waits for another state: without a step to run, threads use no time. */
function rest(control: Int32Array, state: number): void {
  for (let spin = 0; spin < SPINS; spin++) if (Atomics.load(control, STATE) !== state) return;
  Atomics.wait(control, STATE, state);
}
