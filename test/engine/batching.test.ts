/** Many sequences on few slots, with shared beginnings, preemption and cancelling: nobody may notice the others. */
import fc from "../support/fast-check.ts";
import { describe, expect, test } from "vitest";
import { Chooser } from "../../engine/chooser.ts";
import { EngineLoop } from "../../engine/loop.ts";
import { GREEDY } from "../../engine/sampling.ts";
import type { GenerationRequest, Output } from "../../engine/sequence.ts";
import { Bench, config, request, SLOT_LENGTH, text } from "../support/ledger-bench.ts";
import { createLedgerRunner, ledgerLogits } from "../support/ledger-runner.ts";

/** Of a prompt's tokens but the first, where they are asked for: from logits that were computed one position at a time. */
function scoresOf({ promptTokens, promptLogprobs }: { promptTokens: number[]; promptLogprobs: number | undefined }) {
  if (promptLogprobs === undefined) return undefined;
  const chooser = new Chooser(config.vocabulary);
  const logits = new Float32Array(config.vocabulary);
  return promptTokens.slice(1).map((token, at) => {
    ledgerLogits(promptTokens, at, logits);
    return chooser.score(logits, token, promptLogprobs);
  });
}

/** Prompts that share beginnings, as chats do. */
const sharedPrompt = fc
  .tuple(fc.constantFrom(0, 1), fc.integer({ min: 1, max: 24 }), fc.array(fc.nat(400), { maxLength: 6 }))
  .map(([family, length, rest]) => [...Array.from({ length }, (_, i) => 100 * family + i), ...rest]);
const job = fc.record({
  promptTokens: sharedPrompt,
  maxTokens: fc.integer({ min: 1, max: 14 }),
  minTokens: fc.constant(0),
  promptLogprobs: fc.constantFrom(undefined, undefined, 2),
  caller: fc.constantFrom("a", "b"),
  cacheSalt: fc.constantFrom("", "other"),
  sampling: fc.oneof(
    fc.constant(GREEDY),
    fc.nat().map((seed) => ({ ...GREEDY, temperature: 1, topP: 0.95, frequencyPenalty: 0.5, seed })),
  ),
  /** Steps of the loop before it comes, and before it is cancelled. */
  arrives: fc.nat(60),
  leaves: fc.option(fc.nat(120)),
});

test("token streams equal one-by-one decoding, whatever is shared, preempted, moved or cancelled", async () => {
  const happened = { preempted: 0, hit: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.array(job, { minLength: 1, maxLength: 10 }),
      fc.record({
        slots: fc.integer({ min: 1, max: 4 }),
        prefillChunk: fc.integer({ min: 1, max: 9 }),
        prefillBesideDecode: fc.integer({ min: 1, max: 9 }),
        patienceMs: fc.integer({ min: 5, max: 200 }),
      }),
      async (jobs, { slots, ...budget }) => {
        const bench = new Bench(slots, { budget: { ...budget, prefillRunCost: 1 } });
        let step = 0;
        const happen = (): void => {
          for (const [id, { arrives, leaves: _, ...wanted }] of jobs.entries())
            if (arrives === step) bench.submit(id, request([], wanted));
          for (const [id, { arrives, leaves }] of jobs.entries())
            if (leaves !== null && arrives + leaves === step) bench.loop.cancel(id);
        };
        for (; step <= 60; step++) {
          happen();
          await bench.run(() => (step++, happen()));
        }
        expect(bench.loop.size).toBe(0);
        const { stats } = bench.loop;
        expect(stats).toMatchObject({ running: 0, waiting: 0, kvUsage: 0 });
        expect(Object.values(stats.finished).reduce((a, b) => a + b)).toBe(jobs.length);
        happened.preempted += stats.preemptions;
        happened.hit += stats.cachedPromptTokens;
        for (const [id, { leaves, ...wanted }] of jobs.entries()) {
          const alone = await new Bench(1).ask(0, request([], wanted));
          const tokens = bench.tokens(id);
          if (leaves === null) expect(tokens).toEqual(alone);
          else expect(tokens).toEqual(alone.slice(0, tokens.length));
          const [first] = bench.said.get(id)!.outputs;
          if (first !== undefined) expect(first.promptLogprobs).toEqual(scoresOf(wanted));
        }
      },
    ),
    { numRuns: 150 },
  );
  // Not by never doing it.
  expect(happened.preempted).toBeGreaterThan(20);
  expect(happened.hit).toBeGreaterThan(500);
});

describe("prefix cache", () => {
  const turn = Array.from({ length: 20 }, (_, i) => i + 30);

  test("a second turn prefills only what is new, and counts what it was spared", async () => {
    const bench = new Bench(2);
    const answer = await bench.ask(1, request(turn));
    expect(bench.runner.prefilled).toBe(20);
    const second = [...turn, ...answer, 7, 8, 9];
    const tokens = await bench.ask(2, request(second));
    // The first answer's last token was never run: it came with the end.
    expect(bench.runner.prefilled).toBe(20 + 1 + 3);
    expect(bench.said.get(2)!.usage).toMatchObject({ promptTokens: 31, cachedTokens: 27, completionTokens: 8 });
    expect(tokens).toEqual(await new Bench(1).ask(0, request(second)));
    expect(bench.loop.stats).toMatchObject({ promptTokens: 51, cachedPromptTokens: 27, prefillTokens: 24 });
  });

  test("a running sequence's beginning is shared too, and an equal prompt runs its last token alone", async () => {
    const bench = new Bench(3);
    for (const id of [1, 2, 3]) bench.submit(id, request(turn, { sampling: { ...GREEDY, temperature: 1, seed: id } }));
    await bench.run();
    expect(bench.runner.prefilled).toBe(20);
    expect([1, 2, 3].map((id) => bench.said.get(id)!.usage!.cachedTokens)).toEqual([0, 19, 19]);
    expect(new Set([1, 2, 3].map((id) => bench.tokens(id).join())).size).toBe(3);
  });

  test("other salts never share, by default those of other callers", async () => {
    const prefilled = async (
      first: Partial<GenerationRequest>,
      second: Partial<GenerationRequest>,
    ): Promise<number> => {
      const bench = new Bench(2);
      await bench.ask(1, request(turn, first));
      await bench.ask(2, request(turn, second));
      return bench.runner.prefilled;
    };
    expect(await prefilled({}, {})).toBe(20);
    expect(await prefilled({ caller: "a" }, { caller: "b" })).toBe(40);
    expect(await prefilled({ caller: "a", cacheSalt: "s" }, { caller: "b", cacheSalt: "s" })).toBe(20);
    expect(await prefilled({ caller: "a" }, { caller: "a", cacheSalt: "s" })).toBe(40);
  });

  test("what was used longest ago gives way first", async () => {
    const bench = new Bench(3);
    const other = (start: number): number[] => Array.from({ length: 20 }, (_, i) => i + start);
    for (const [id, prompt] of [turn, other(100), other(200), turn, other(300), turn].entries())
      await bench.ask(id, request(prompt));
    expect(bench.said.get(3)!.usage).toMatchObject({ cachedTokens: 19 });
    expect(bench.said.get(5)!.usage).toMatchObject({ cachedTokens: 19 });
    await bench.ask(9, request(other(100)));
    expect(bench.said.get(9)!.usage).toMatchObject({ cachedTokens: 0 });
  });
});

describe("preemption", () => {
  test("long answers on all slots don't shut out who comes later; all get what they would have alone", async () => {
    const bench = new Bench(2, { budget: { patienceMs: 20 } });
    const prompts = [0, 1, 2, 3].map((family) => Array.from({ length: 10 }, (_, i) => 50 * family + i));
    const order: number[] = [];
    for (const [id, prompt] of prompts.entries()) bench.submit(id, request(prompt, { maxTokens: 40 }));
    await bench.run(() => {
      for (const id of prompts.keys()) if (!order.includes(id) && bench.tokens(id).length > 0) order.push(id);
      if (order.length < 4) for (const id of prompts.keys()) expect(bench.tokens(id).length).toBeLessThan(40);
    });
    expect(order).toHaveLength(4);
    expect(bench.loop.stats.preemptions).toBeGreaterThan(1);
    for (const [id, prompt] of prompts.entries())
      expect(bench.tokens(id)).toEqual(await new Bench(1).ask(0, request(prompt, { maxTokens: 40 })));
  });

  test("one caller's crowd doesn't keep another waiting", async () => {
    const bench = new Bench(1);
    const finished: number[] = [];
    for (const id of [1, 2, 3, 4]) bench.submit(id, request([id, 5, 6], { caller: "crowd" }));
    bench.submit(5, request([9], { caller: "single" }));
    await bench.run(() => {
      for (const [id, { outputs }] of bench.said)
        if (outputs.at(-1)?.finishReason !== undefined && !finished.includes(id)) finished.push(id);
    });
    expect(finished).toEqual([1, 5, 2, 3, 4]);
  });
});

describe("a stream that goes on elsewhere", () => {
  const wanted = request(text.encode("Some prompt"), {
    maxTokens: 24,
    sampling: {
      ...GREEDY,
      temperature: 0.9,
      topP: 0.98,
      repetitionPenalty: 1.1,
      presencePenalty: 0.3,
      frequencyPenalty: 0.2,
      seed: 11,
    },
    logprobs: 2,
  });

  test.each(["greedy", "seeded"])(
    "cut at every position, it continues from the ids with the same tokens and text: %s",
    async (how) => {
      const request_ = how === "greedy" ? { ...wanted, sampling: GREEDY } : wanted;
      const whole = new Bench(1);
      const tokens = await whole.ask(0, request_);
      expect(tokens).toHaveLength(24);
      const { outputs } = whole.said.get(0)!;
      for (let cut = 0; cut < tokens.length; cut++) {
        const rest = new Bench(1);
        await rest.ask(0, { ...request_, generated: tokens.slice(0, cut) });
        expect(rest.said.get(0)!.outputs).toEqual(outputs.slice(cut));
        expect(rest.said.get(0)!.usage).toMatchObject({ completionTokens: 24 });
      }
    },
  );

  test("half a character and what is held back for a stop string go on too", async () => {
    const [a, b, c] = new TextEncoder().encode("世");
    const spell = [...text.encode("the ri"), a!, b!, c!, ...text.encode("ver")];
    const scripted = (promptLength: number): Bench => {
      const bench = new Bench(1);
      const logitsFor = (position: number): Float32Array => {
        const logits = new Float32Array(config.vocabulary);
        logits[spell[position + 1 - promptLength] ?? 511] = 1;
        return logits;
      };
      bench.runner.prefill = async (_slot, ids, start) => logitsFor(start + ids.length - 1);
      bench.runner.decode = async (_ids, positions) => logitsFor(positions[0]!);
      return bench;
    };
    const base = request([1], { maxTokens: 40, stop: ["i世vex", "世veil"] });
    const whole = scripted(1);
    await whole.ask(0, base);
    expect(whole.said.get(0)!.text).toBe("the ri世ver");
    const { outputs } = whole.said.get(0)!;
    for (let cut = 1; cut < spell.length; cut++) {
      const rest = scripted(1);
      await rest.ask(0, { ...base, generated: spell.slice(0, cut) });
      expect(rest.said.get(0)!.outputs).toEqual(outputs.slice(cut));
    }
  });
});

describe("a request's wishes", () => {
  test("minTokens holds off end-of-turn tokens and stop strings", async () => {
    const bias = { 511: 100 };
    const sampling = { ...GREEDY, logitBias: bias };
    expect(await new Bench(1).ask(0, request([1, 2], { sampling }))).toEqual([]);
    const bench = new Bench(1);
    expect(await bench.ask(0, request([1, 2], { sampling, minTokens: 5 }))).toHaveLength(5);
    expect(bench.said.get(0)!.outputs.at(-1)!.finishReason).toBe("stop");
    const [first] = await new Bench(1).ask(0, request([1, 2]));
    const stop = [text.decode([first!])];
    expect(await new Bench(1).ask(0, request([1, 2], { stop }))).toHaveLength(1);
    expect((await new Bench(1).ask(0, request([1, 2], { stop, minTokens: 4 }))).length).toBeGreaterThanOrEqual(4);
  });

  test("logprobs are the model's own, whatever the sampling; the alternatives best first", async () => {
    const bench = new Bench(1);
    await bench.ask(
      0,
      request([1, 2, 3], { sampling: { ...GREEDY, temperature: 1.5, seed: 3, logitBias: { 9: 50 } }, logprobs: 3 }),
    );
    const logits = (await bench.runner.prefill(0, Int32Array.of(1, 2, 3), 0, true))!;
    const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
    const best = [...logits.keys()].toSorted((a, b) => logits[b]! - logits[a]!).slice(0, 3);
    const [{ logprobs, tokens }] = bench.said.get(0)!.outputs as [Output];
    expect(tokens).toEqual([9]);
    expect(logprobs).toHaveLength(1);
    expect(logprobs![0]!.token).toBe(9);
    expect(logprobs![0]!.logprob).toBeCloseTo(logits[9]! - total, 5);
    expect(logprobs![0]!.top.map(({ token }) => token)).toEqual(best);
    logprobs![0]!.top.forEach(({ token, logprob }) => expect(logprob).toBeCloseTo(logits[token]! - total, 5));
    const without = new Bench(1);
    await without.ask(0, request([1]));
    expect(without.said.get(0)!.outputs[0]).not.toHaveProperty("logprobs");
  });

  test("are refused by name when they make no sense", () => {
    const bench = new Bench(1);
    const submit = (part: Partial<GenerationRequest>) => () => bench.submit(0, request([1], part));
    expect(submit({ generated: [1, 2], maxTokens: 2 })).toThrow("maxTokens must be a whole number above 2");
    expect(submit({ generated: [900] })).toThrow("token 900");
    expect(submit({ generated: new Array<number>(63).fill(1), maxTokens: 99 })).toThrow(
      "64 tokens, but a slot holds 64",
    );
    expect(submit({ minTokens: 9 })).toThrow("minTokens");
    expect(submit({ logprobs: 21 })).toThrow("logprobs");
    expect(submit({ caller: "x".repeat(257) })).toThrow("caller has at most 256");
    expect(submit({ stop: ["x".repeat(257)] })).toThrow("stop string");
  });
});

test("a device that is lost while nothing runs breaks the engine with its reason", async () => {
  const lost = Promise.withResolvers<string>();
  const reasons: string[] = [];
  const runner = { ...createLedgerRunner(config, { slots: 1, slotLength: SLOT_LENGTH }), lost: lost.promise };
  const loop = new EngineLoop({
    runner,
    text,
    yieldTurn: () => Promise.resolve(),
    now: () => 0,
    onBroken: (error) => reasons.push(error.message),
  });
  lost.resolve("the GPU device was lost");
  await lost.promise;
  await Promise.resolve();
  expect(reasons).toEqual(["the GPU device was lost"]);
  expect(() => loop.submit(1, request([1]), { onOutput: () => {}, onError: () => {} })).toThrow("device was lost");
});
