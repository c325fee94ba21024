import fc from "../support/fast-check.ts";
import { describe, expect, test } from "vitest";
import { EngineLoop, type GenerationListener } from "../../engine/loop.ts";
import { createReferenceRunner } from "../../engine/reference/decoder.ts";
import { GREEDY } from "../../engine/sampling.ts";
import type { GenerationRequest, Usage } from "../../engine/sequence.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import type { FinishReason, Runner } from "../../engine/types.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";

const { config, weights, tokenizerMetadata } = makeTinyGguf();
const text = Tokenizer.fromGguf(tokenizerMetadata);
const makeRunner = (slots: number, slotLength = 48): Runner =>
  createReferenceRunner(config, weights, { slots, slotLength });
const yieldTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
/** A clock that goes on by itself, a millisecond a look. */
let clock = 0;
const now = (): number => ++clock;

class Collector implements GenerationListener {
  text = "";
  tokens: number[] = [];
  usage: Usage | undefined;
  finishReason: FinishReason | undefined;
  error: Error | undefined;
  onToken: (() => void) | undefined;

  onOutput(output: Parameters<GenerationListener["onOutput"]>[0], usage: Usage): void {
    expect(this.finishReason ?? this.error).toBeUndefined();
    this.text += output.text;
    this.tokens.push(...output.tokens);
    this.finishReason = output.finishReason;
    this.usage = usage;
    this.onToken?.();
  }
  onError(error: Error): void {
    expect(this.finishReason ?? this.error).toBeUndefined();
    this.error = error;
  }
}

const request = (promptTokens: number[], part: Partial<GenerationRequest> = {}): GenerationRequest => ({
  promptTokens,
  sampling: GREEDY,
  maxTokens: 8,
  stop: [],
  ...part,
});

async function alone(wanted: GenerationRequest, slotLength?: number): Promise<Collector> {
  const loop = new EngineLoop({ runner: makeRunner(1, slotLength), text, yieldTurn, now });
  const collector = new Collector();
  loop.submit(0, wanted, collector);
  await loop.idle();
  return collector;
}

/** A runner that says what it is told: at each position, the token of `script`. */
function scripted(script: readonly number[]): Runner {
  const logitsFor = (position: number): Float32Array => {
    const logits = new Float32Array(config.vocabulary);
    logits[script[position]!] = 1;
    return logits;
  };
  return {
    provider: "reference",
    config,
    slots: 1,
    slotLength: 64,
    prefill: async (_slot, tokens, start) => logitsFor(start + tokens.length - 1),
    prefillScored: () => Promise.reject(new Error("nobody asks for scores")),
    decode: async (_tokens, positions) => logitsFor(positions[0]!),
    copySlot: async () => {},
    release: async () => {},
  };
}
const say = async (tokens: number[], part: Partial<GenerationRequest> = {}): Promise<Collector> => {
  const loop = new EngineLoop({ runner: scripted(tokens), text, yieldTurn, now });
  const collector = new Collector();
  loop.submit(0, request([1], { maxTokens: 50, ...part }), collector);
  await loop.idle();
  return collector;
};

describe("a generation", () => {
  test("ends at maxTokens with usage", async () => {
    const done = await alone(request([5, 6, 7]));
    expect(done).toMatchObject({ finishReason: "length", usage: { promptTokens: 3, completionTokens: 8 } });
    expect(done.tokens).toHaveLength(8);
    expect(done.text).toBe(text.decode(done.tokens));
  });

  test("ends when its slot is full", async () => {
    const done = await alone(request([5, 6, 7], { maxTokens: undefined }), 20);
    expect(done).toMatchObject({ finishReason: "length", usage: { promptTokens: 3, completionTokens: 17 } });
    expect(done.tokens.slice(0, 8)).toEqual((await alone(request([5, 6, 7]))).tokens);
  });

  test("ends at an end-of-turn token, which is neither text nor counted", async () => {
    const done = await say([40, 41, 511]);
    expect(done).toMatchObject({
      finishReason: "stop",
      tokens: [40, 41],
      text: text.decode([40, 41]),
      usage: { completionTokens: 2 },
    });
  });

  test("ends before a stop string that spans tokens; what was held back comes out otherwise", async () => {
    const ids = text.encode("the river");
    const end = [...ids, 511];
    expect(ids.length).toBeGreaterThan(1);
    expect(await say(end, { stop: ["e r"] })).toMatchObject({ finishReason: "stop", text: "th" });
    expect(await say(end, { stop: ["rivers"] })).toMatchObject({ finishReason: "stop", text: "the river" });
    expect(await say(ids, { stop: ["rivers"], maxTokens: ids.length })).toMatchObject({
      finishReason: "length",
      text: "the river",
    });
  });

  test("shows an unfinished character at the end as U+FFFD", async () => {
    const [first] = new TextEncoder().encode("世");
    expect(await say([first!, 511])).toMatchObject({ text: "\ufffd" });
  });
});

describe("together", () => {
  const prompt = fc.array(fc.nat(508), { minLength: 1, maxLength: 20 });
  const job = fc.record({
    promptTokens: prompt,
    maxTokens: fc.integer({ min: 1, max: 12 }),
    sampling: fc.oneof(
      fc.constant(GREEDY),
      fc.nat().map((seed) => ({ ...GREEDY, temperature: 1, topP: 0.9, repetitionPenalty: 1.2, seed })),
    ),
    /** Steps of the loop before it arrives. */
    arrives: fc.nat(12),
  });

  test("token streams equal one-by-one decoding, whatever the slots, chunks, arrivals and windows", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(job, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 20 }),
        async (jobs, slots, prefillChunk, windowTokens) => {
          let step = -1;
          const collectors = jobs.map(() => new Collector());
          const loop: EngineLoop = new EngineLoop({
            runner: makeRunner(slots),
            text,
            budget: { prefillChunk },
            windowTokens,
            yieldTurn,
            now,
            onStep: () => arrive(++step),
          });
          const arrive = (now: number): void =>
            jobs.forEach((wanted, id) => {
              if (wanted.arrives === now) loop.submit(id, { ...wanted, stop: [] }, collectors[id]!);
            });
          collectors.forEach((collector, id) => {
            // A slow consumer: takes one token each time the loop has nothing else to do (below).
            collector.onToken = () => (id % 2 === 0 ? loop.acknowledge(id, 1) : undefined);
          });
          for (let now = 0; now <= 12; now++) {
            if (now > step) arrive((step = now));
            await loop.idle();
          }
          for (let round = 0; loop.size > 0; round++) {
            expect(round).toBeLessThan(500);
            jobs.forEach((_, id) => loop.acknowledge(id, 1));
            await loop.idle();
          }
          for (const [id, wanted] of jobs.entries()) {
            const expected = await alone({ ...wanted, stop: [] });
            expect(collectors[id]!.tokens).toEqual(expected.tokens);
            expect(collectors[id]!.finishReason).toBe(expected.finishReason);
          }
        },
      ),
      { numRuns: 25 },
    );
  });

  test("a slow consumer pauses its own sequence, not the others", async () => {
    const loop = new EngineLoop({ runner: makeRunner(2), text, yieldTurn, now, windowTokens: 3 });
    const slow = new Collector();
    const quick = new Collector();
    quick.onToken = () => loop.acknowledge(2, 1);
    loop.submit(1, request([5]), slow);
    loop.submit(2, request([6]), quick);
    await loop.idle();
    expect(slow.tokens).toHaveLength(3);
    expect(quick).toMatchObject({ finishReason: "length" });
    for (let taken = 0; taken < 5; taken++) {
      loop.acknowledge(1, 1);
      await loop.idle();
      expect(slow.tokens).toHaveLength(4 + taken);
    }
    expect(slow).toMatchObject({ finishReason: "length" });
    expect(loop.size).toBe(0);
  });

  test("cancelling ends a sequence at the next token and frees its slot for one that waits", async () => {
    const loop = new EngineLoop({ runner: makeRunner(1), text, yieldTurn, now });
    const cancelled = new Collector();
    const next = new Collector();
    cancelled.onToken = () => cancelled.tokens.length === 2 && loop.cancel(1);
    loop.submit(1, request([5]), cancelled);
    loop.submit(2, request([6]), next);
    await loop.idle();
    expect(cancelled.tokens).toHaveLength(2);
    expect(cancelled.finishReason).toBeUndefined();
    expect(next).toMatchObject({ finishReason: "length" });
  });
});

test("cancelling during a step, even an admission, drops its result and harms nobody", async () => {
  for (const during of ["prefill", "decode"] as const) {
    const runner = makeRunner(2);
    let calls = 0;
    const intercepted: Runner = {
      ...runner,
      prefill: (...call) => (during === "prefill" && ++calls === 2 && loop.cancel(2), runner.prefill(...call)),
      decode: (...call) => (during === "decode" && ++calls === 2 && loop.cancel(2), runner.decode(...call)),
    };
    const loop: EngineLoop = new EngineLoop({ runner: intercepted, text, yieldTurn, now });
    const [stays, goes] = [new Collector(), new Collector()];
    loop.submit(1, request([5, 1]), stays);
    loop.submit(2, request([6, 1]), goes);
    await loop.idle();
    expect(goes.finishReason).toBeUndefined();
    expect(goes.tokens.length).toBeLessThan(3);
    const before = goes.tokens.length;
    expect(stays).toMatchObject({ finishReason: "length", tokens: (await alone(request([5, 1]))).tokens });
    expect(goes.tokens).toHaveLength(before);
    expect(loop.size).toBe(0);
  }
});

describe("refusals", () => {
  const loop = new EngineLoop({ runner: makeRunner(1, 16), text, yieldTurn, now });
  const submit = (part: Partial<GenerationRequest>) => () => loop.submit(1, request([1], part), new Collector());

  test("name what is wrong", () => {
    expect(submit({ promptTokens: [] })).toThrow("prompt is empty");
    expect(submit({ promptTokens: new Array<number>(20).fill(1) })).toThrow("20 tokens, but a slot holds 16");
    expect(submit({ promptTokens: [512] })).toThrow("token 512");
    expect(submit({ maxTokens: 0 })).toThrow("maxTokens");
    expect(submit({ sampling: { ...GREEDY, topP: 3 } })).toThrow("topP");
    expect(loop.size).toBe(0);
  });

  test.each<[string, object]>([
    ["promptTokens must be a list", { promptTokens: "abc" }],
    ["token undefined is not in the vocabulary", { promptTokens: [undefined] }],
    ["token a value of type string", { promptTokens: ["1"] }],
    ["generated must be a list", { generated: { length: 1 } }],
    ["stop must be a list of texts", { stop: "stop" }],
    ["stop must be a list of texts", { stop: [{ length: 3 }] }],
    ["stop must be a list of texts", { stop: undefined }],
    ["maxTokens must be a whole number", { maxTokens: "5" }],
    ["minTokens must be a whole number", { minTokens: {} }],
    ["logprobs must be a whole number", { logprobs: [] }],
    ["caller must be a text", { caller: { length: 3 } }],
    ["cacheSalt must be a text", { cacheSalt: 5 }],
    ["sampling must be an object", { sampling: null }],
    ["temperature must be a number", { sampling: { ...GREEDY, temperature: "1" } }],
    ["topK must be a number", { sampling: { ...GREEDY, topK: null } }],
    ["presencePenalty must be a number", { sampling: { ...GREEDY, presencePenalty: ["1"] } }],
    ["seed must be a number", { sampling: { ...GREEDY, seed: 5n } }],
    ["logitBias must be an object", { sampling: { ...GREEDY, logitBias: [1] } }],
    ["logitBias of token 5 must be a number", { sampling: { ...GREEDY, logitBias: { 5: "10" } } }],
  ])("%s: whatever a field holds, nobody else notices", async (reason, part) => {
    const bystander = new Collector();
    loop.submit(0, request([5]), bystander);
    const refusal = submit(part as Partial<GenerationRequest>);
    expect(refusal).toThrow(RangeError);
    expect(refusal).toThrow(reason);
    await loop.idle();
    expect(bystander.finishReason).toBe("length");
  });

  test("bound how many may wait", () => {
    const crowded = new EngineLoop({ runner: makeRunner(1), text, yieldTurn, now });
    for (let id = 0; id < 256; id++) crowded.submit(id, request([1]), new Collector());
    expect(() => crowded.submit(256, request([1]), new Collector())).toThrow("full");
    for (let id = 0; id < 256; id++) crowded.cancel(id);
  });
});

describe("a broken model", () => {
  const broken: Record<string, Partial<Runner>> = {
    "run failed": { prefill: () => Promise.reject(new Error("run failed")) },
    "the model gave no usable logits": { prefill: async () => new Float32Array(config.vocabulary) },
    "no usable logits": { prefill: async () => new Float32Array(config.vocabulary).fill(NaN) },
  };
  test.each(Object.entries(broken))("ends every generation with the reason: %s", async (reason, part) => {
    const reported: string[] = [];
    const loop = new EngineLoop({
      runner: { ...makeRunner(2), ...part },
      text,
      yieldTurn,
      now,
      onBroken: (error) => reported.push(error.message),
    });
    const collectors = [new Collector(), new Collector()];
    collectors.forEach((collector, id) => loop.submit(id, request([1, 2]), collector));
    await loop.idle();
    for (const collector of collectors) expect(collector.error?.message).toContain(reason);
    expect(reported.join()).toContain(reason);
    expect(() => loop.submit(9, request([1]), new Collector())).toThrow(reason);
  });
});
