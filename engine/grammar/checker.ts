/**
 * Tries formats on a compiler in a thread of its own before the engine's thread compiles them: one that breaks the compiler, or keeps it busy for too
 * long, ends that thread and nothing else. The thread is there only while it is wanted. How it is made, and timers, are arguments.
 */
import { GRAMMAR_CHECK_IDLE_MS, GRAMMAR_COMPILE_MS, GRAMMAR_START_MS, SILENCE_GRACE_MS } from "../limits.ts";
import { GrammarError } from "../refusals.ts";
import type { FromCheck, ToCheck } from "./check-thread.ts";
import type { GrammarFormat } from "./format.ts";
import type { GrammarVocabulary } from "./xgrammar.ts";

export interface CheckThread {
  post(message: ToCheck): void;
  onMessage(handler: (message: FromCheck) => void): void;
  /** Called where it ends by itself. */
  onExit(handler: (reason: string) => void): void;
  terminate(): void;
}

export interface CheckerOptions {
  readonly spawn: () => CheckThread;
  /** Calls back once after `ms`; returns how to call it off. */
  readonly after: (ms: number, callback: () => void) => () => void;
  readonly vocabulary: () => GrammarVocabulary;
}

export class GrammarChecker {
  readonly #options: CheckerOptions;
  #thread: CheckThread | undefined;
  #heard: ((message: FromCheck) => void) | undefined;
  #failed: ((reason: string) => void) | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #stopIdling: (() => void) | undefined;

  constructor(options: CheckerOptions) {
    this.#options = options;
  }

  /** Resolves when the format was compiled; rejects with a GrammarError that says why not. One at a time. */
  check(format: GrammarFormat): Promise<void> {
    const checked = this.#last.then(() => this.#check(format));
    this.#last = checked.catch(() => undefined);
    return checked;
  }

  close(): void {
    this.#stopIdling?.();
    this.#thread?.terminate();
    this.#thread = undefined;
  }

  async #check(format: GrammarFormat): Promise<void> {
    this.#stopIdling?.();
    if (this.#thread === undefined) {
      const { spawn, vocabulary } = this.#options;
      this.#begin(spawn());
      const late = new Error("the grammars' compiler did not start in time");
      await this.#ask({ type: "vocabulary", vocabulary: vocabulary() }, GRAMMAR_START_MS, late);
    }
    const late = new GrammarError(
      `the compiler did not finish it in ${GRAMMAR_COMPILE_MS / 1000} s: repetitions with large bounds, such as maxLength, cost most`,
    );
    const answer = await this.#ask({ type: "check", format }, GRAMMAR_COMPILE_MS, late);
    if (answer.type === "checked" && !answer.isSound) this.close();
    else this.#stopIdling = this.#options.after(GRAMMAR_CHECK_IDLE_MS, () => this.close());
    if (answer.type === "checked" && answer.problem !== undefined) throw new GrammarError(answer.problem);
  }

  #begin(thread: CheckThread): void {
    this.#thread = thread;
    thread.onMessage((message) => this.#heard?.(message));
    thread.onExit((reason) => {
      if (this.#thread !== thread) return;
      this.#thread = undefined;
      this.#failed?.(reason);
    });
  }

  async #ask(message: ToCheck, withinMs: number, late: Error): Promise<FromCheck> {
    const { promise, resolve, reject } = Promise.withResolvers<FromCheck>();
    const { after } = this.#options;
    // In two parts: after the process itself was stopped, an answer that waits is delivered before the second runs out.
    let stop = after(withinMs, () => {
      stop = after(SILENCE_GRACE_MS, () => {
        this.close();
        reject(late);
      });
    });
    this.#heard = resolve;
    this.#failed = (reason) => reject(new Error(`the grammars' compiler ended: ${reason}`));
    this.#thread!.post(message);
    return promise.finally(() => stop());
  }
}
