/** The thread that tries grammars: what becomes of one that hangs, breaks or ends, on a virtual clock. */
import { describe, expect, test } from "vitest";
import { GrammarChecker, type CheckThread } from "../../../engine/grammar/checker.ts";
import type { FromCheck, ToCheck } from "../../../engine/grammar/check-thread.ts";
import { GRAMMAR_CHECK_IDLE_MS, GRAMMAR_COMPILE_MS, SILENCE_GRACE_MS } from "../../../engine/limits.ts";
import { GrammarError } from "../../../engine/refusals.ts";

const format = { type: "regex", pattern: "a" } as const;
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class Bench {
  readonly threads: { asked: ToCheck[]; say: (message: FromCheck) => void; exit: () => void; ended: boolean }[] = [];
  readonly #timers = new Set<{ at: number; callback: () => void }>();
  #now = 0;
  readonly checker = new GrammarChecker({
    spawn: () => this.#spawn(),
    after: (ms, callback) => {
      const timer = { at: this.#now + ms, callback };
      this.#timers.add(timer);
      return () => void this.#timers.delete(timer);
    },
    vocabulary: () => ({ tokens: ["a"], size: 1, endTokens: [] }),
  });

  #spawn(): CheckThread {
    const thread = { asked: [] as ToCheck[], say: (_: FromCheck) => {}, exit: () => {}, ended: false };
    this.threads.push(thread);
    return {
      post: (message) => {
        thread.asked.push(message);
        if (message.type === "vocabulary") setImmediate(() => thread.say({ type: "ready" }));
      },
      onMessage: (handler) => (thread.say = handler),
      onExit: (handler) => (thread.exit = () => handler("out of memory")),
      terminate: () => (thread.ended = true),
    };
  }

  async pass(ms: number): Promise<void> {
    this.#now += ms;
    for (const timer of this.#timers) {
      if (timer.at > this.#now) continue;
      this.#timers.delete(timer);
      timer.callback();
    }
    await settled();
  }

  get timers(): number {
    return this.#timers.size;
  }
}

const sound = { type: "checked", problem: undefined, isSound: true } as const;

describe("a checker", () => {
  test("asks one at a time, on one thread that ends when nothing is asked of it", async () => {
    const bench = new Bench();
    const checks = [bench.checker.check(format), bench.checker.check(format)];
    await settled();
    await settled();
    expect(bench.threads[0]!.asked.map(({ type }) => type)).toEqual(["vocabulary", "check"]);
    bench.threads[0]!.say(sound);
    await checks[0];
    await settled();
    bench.threads[0]!.say(sound);
    await checks[1];
    await bench.pass(GRAMMAR_CHECK_IDLE_MS - 1);
    expect(bench.threads.map(({ ended }) => ended)).toEqual([false]);
    await bench.pass(1);
    expect([bench.threads.map(({ ended }) => ended), bench.timers]).toEqual([[true], 0]);
  });

  test("one whose answer waits while the process stands still is taken when it goes on", async () => {
    const bench = new Bench();
    const check = bench.checker.check(format);
    await settled();
    await settled();
    await bench.pass(60 * GRAMMAR_COMPILE_MS);
    bench.threads[0]!.say(sound);
    await check;
    await bench.pass(SILENCE_GRACE_MS);
    expect(bench.threads.map(({ ended }) => ended)).toEqual([false]);
  });

  test.each<[string, (bench: Bench) => unknown, string]>([
    [
      "hangs",
      async (bench) => {
        await bench.pass(GRAMMAR_COMPILE_MS);
        await bench.pass(SILENCE_GRACE_MS);
      },
      "did not finish it in 2 s",
    ],
    [
      "broke the compiler",
      ({ threads }) => threads[0]!.say({ type: "checked", problem: "bad", isSound: false }),
      "bad",
    ],
    ["ended the thread", ({ threads }) => threads[0]!.exit(), "out of memory"],
  ])("one that %s is refused, and the next gets a thread of its own", async (_, happen, reason) => {
    const bench = new Bench();
    const first = bench.checker.check(format).catch((error: Error) => error);
    const second = bench.checker.check(format);
    await settled();
    await settled();
    await happen(bench);
    const error = (await first) as Error;
    expect(error.message).toContain(reason);
    expect(error instanceof GrammarError).toBe(reason !== "out of memory");
    await settled();
    await settled();
    expect(bench.threads).toHaveLength(2);
    bench.threads[1]!.say(sound);
    await second;
  });
});
