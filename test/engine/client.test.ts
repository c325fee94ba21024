import { afterEach, describe, expect, test, vi } from "vitest";
import { EngineClient, type EngineClientOptions, EngineDeadError, type EngineThread } from "../../engine/client.ts";
import type { EngineGeneration } from "../../engine/generation.ts";
import { GrammarError, PromptTooLongError } from "../../engine/refusals.ts";
import { createReferenceRunner } from "../../engine/reference/decoder.ts";
import type { EngineStats } from "../../engine/stats.ts";
import { argmax } from "../support/argmax.ts";
import { spawnNodeEngine } from "../../engine/spawn-node.ts";
import type { FromEngine, LoadSpec, ToEngine } from "../../engine/thread-messages.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import { CRASHING_THREADS, HANGING_THREADS } from "../support/reference-engine-thread.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";

const entry = new URL("../support/reference-engine-thread.ts", import.meta.url);
const after = (ms: number, callback: () => void): (() => void) => {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
};
const spec: LoadSpec = { prepared: {}, provider: "auto", threads: 1, slots: 2, slotLength: 400 };
const clients: EngineClient[] = [];

async function start(
  options: Partial<EngineClientOptions> = {},
  loaded: Partial<LoadSpec> | "unloaded" = {},
): Promise<EngineClient> {
  const client = await EngineClient.start({ spawn: () => spawnNodeEngine(entry), after, ...options });
  clients.push(client);
  if (loaded !== "unloaded") await client.load({ ...spec, ...loaded });
  return client;
}
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
});

async function collect(generation: EngineGeneration): Promise<{ text: string; tokens: number[] }> {
  const result = { text: "", tokens: [] as number[] };
  for await (const { text, tokens } of generation) {
    result.text += text;
    result.tokens.push(...tokens);
  }
  return result;
}
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe("an engine in a thread", () => {
  test("loads with progress, answers a chat with text, tokens and usage, and closes", async () => {
    const client = await start({}, "unloaded");
    const stages: string[] = [];
    const loaded = await client.load(spec, ({ stage }) => stages.push(stage));
    expect(loaded).toMatchObject({ provider: "reference", slots: 2, slotLength: 400, notes: ["oracle"] });
    expect(stages).toEqual(["session (reference)"]);

    const { config, weights, tokenizerMetadata } = makeTinyGguf();
    const tokenizer = Tokenizer.fromGguf(tokenizerMetadata);
    const generation = client.generate({ messages: [{ role: "user", content: "Hi" }], maxTokens: 30 });
    const { text, tokens } = await collect(generation);
    const prompt = tokenizer.encodeChat([{ role: "user", content: "Hi" }]);
    expect(await generation.promptTokens).toEqual(prompt);
    expect(await generation.end).toEqual({
      promptTokens: prompt.length,
      cachedTokens: 0,
      completionTokens: 30,
      finishReason: "length",
    });
    expect(text).toBe(tokenizer.decode(tokens));

    const oracle = createReferenceRunner(config, weights, { slots: 1, slotLength: 400 });
    const expected = [argmax((await oracle.prefill(0, Int32Array.from(prompt), 0, true))!)];
    while (expected.length < 30) {
      expected.push(
        argmax(
          await oracle.decode(Int32Array.of(expected.at(-1)!), Int32Array.of(prompt.length + expected.length - 1)),
        ),
      );
    }
    expect(tokens).toEqual(expected);
    await client.close();
    await client.close();
    await expect(collect(client.generate({ prompt: "late" }))).rejects.toThrow(EngineDeadError);
  });

  test("holds an answer to a grammar, refuses one that can't be compiled, and goes on", async () => {
    const client = await start();
    const grammar = {
      type: "json_schema",
      json_schema: { type: "object", properties: { sea: { type: "boolean" } }, required: ["sea"] },
    } as const;
    const ask = (part: object = {}) => client.generate({ prompt: "The river", maxTokens: 40, grammar, ...part });
    const [one, two] = await Promise.all([collect(ask()), collect(ask({ sampling: { temperature: 2, seed: 3 } }))]);
    for (const { text } of [one, two]) expect(JSON.parse(text)).toEqual({ sea: expect.any(Boolean) });
    const bad = ask({ grammar: { type: "json_schema", json_schema: { type: "nope" } } });
    await expect(bad.promptTokens).rejects.toThrow(GrammarError);
    await expect(collect(bad)).rejects.toThrow('Unsupported type "nope"');
    // Called off while its grammar is compiled.
    const gone = ask({ grammar: { type: "regex", pattern: "[a-z]+" }, minTokens: 300, maxTokens: 300 });
    gone.cancel();
    expect(await gone.end).toMatchObject({ finishReason: "cancelled" });
    const late = ask({ prompt: "river ".repeat(500), grammar });
    await expect(late.promptTokens).rejects.toThrow(PromptTooLongError);
    expect((await collect(ask())).text).toBe(one.text);
    // Compiled after the one that was called off.
    expect((await collect(ask({ grammar: { type: "const_string", value: "sea" } }))).text).toBe("sea");
    expect(await client.stats()).toMatchObject({ running: 0, waiting: 0 });
  });

  test("says what a text and a conversation are in tokens, and tokens in text", async () => {
    const client = await start();
    const messages = [{ role: "user", content: "Hi" }];
    const asked = client.generate({ messages, maxTokens: 1 });
    expect(await client.tokenize({ messages })).toEqual(await asked.promptTokens);
    asked.cancel();
    const tokens = await client.tokenize({ prompt: "naïve 🙂" });
    expect(await client.detokenize(tokens)).toBe("naïve 🙂");
    const empty = await start({}, "unloaded");
    await expect(empty.tokenize({ prompt: "a" })).rejects.toThrow("no model is loaded");
    const asking = client.tokenize({ prompt: "a" });
    await client.close();
    await expect(Promise.all([asking, client.detokenize([1])])).rejects.toThrow(EngineDeadError);
  });

  test("runs more generations than slots, each with its own text, seeded ones repeatably", async () => {
    const client = await start();
    const ask = (seed: number) =>
      collect(client.generate({ prompt: "The river", maxTokens: 12, sampling: { temperature: 1, seed } }));
    const answers = await Promise.all([ask(1), ask(2), ask(3), ask(1), ask(2)]);
    expect(answers[3]).toEqual(answers[0]);
    expect(answers[4]).toEqual(answers[1]);
    expect(answers[1]!.tokens).not.toEqual(answers[0]!.tokens);
  });

  test("logprobs come with what their tokens say; stats tell what was done", async () => {
    const client = await start();
    const pieces = await Array.fromAsync(client.generate({ prompt: "The river", maxTokens: 5, logprobs: 2 }));
    const scores = pieces.flatMap(({ logprobs }) => logprobs ?? []);
    expect(scores.map(({ token }) => token)).toEqual(pieces.flatMap(({ tokens }) => tokens));
    expect(scores.map(({ text }) => text).join("")).toBe(pieces.map(({ text }) => text).join(""));
    for (const { logprob, top, bytes } of scores) {
      // Greedy: the chosen one is the best.
      expect(top[0]!.logprob).toBe(logprob);
      expect(top).toHaveLength(2);
      expect(bytes.length).toBeGreaterThan(0);
    }
    expect(await client.stats()).toMatchObject({ running: 0, generatedTokens: 5, finished: { length: 1 } });
    const { timeToFirstToken, interTokenLatency } = (await client.stats()) as EngineStats;
    expect(timeToFirstToken.counts.reduce((a, b) => a + b)).toBe(1);
    expect(interTokenLatency.counts.reduce((a, b) => a + b)).toBe(4);
  });

  test("refuses what can't be served, with the reason, and goes on", async () => {
    const client = await start({}, { slotLength: 8 });
    const long = collect(client.generate({ prompt: "a b c d e f g h i j" }));
    await expect(long).rejects.toThrow(/a slot holds 8/);
    await expect(long).rejects.toBeInstanceOf(PromptTooLongError);
    await expect(client.generate({ prompt: "a", sampling: { topP: 5 } }).end).rejects.toThrow(RangeError);
    await expect(client.generate({ prompt: "a", stop: ["x".repeat(300)] }).promptTokens).rejects.toThrow("stop string");
    await expect(client.load(spec)).rejects.toThrow("has a model already");
    expect((await collect(client.generate({ prompt: "a", maxTokens: 2 }))).tokens).toHaveLength(2);
  });

  test("a failed load says why and leaves the thread usable; nothing runs without a model", async () => {
    const client = await start({}, "unloaded");
    await expect(client.load({ ...spec, slots: 65 })).rejects.toThrow("too many slots");
    await expect(collect(client.generate({ prompt: "a" }))).rejects.toThrow("no model is loaded");
    expect(await client.probe()).toMatchObject({ reasons: { webgpu: "the oracle has none" } });
    expect(await client.load(spec)).toMatchObject({ slots: 2 });
  });
});

describe("flow control and cancellation", () => {
  test("nobody reads: the engine stops within the window; reading makes it go on to the end", async () => {
    let tokensSent = 0;
    const client = await start({
      spawn: () => {
        const thread = spawnNodeEngine(entry);
        return {
          ...thread,
          onMessage: (handler) =>
            thread.onMessage((message) => {
              if (message.type === "step") for (const item of message.items) tokensSent += item.tokens.length;
              handler(message);
            }),
        };
      },
    });
    const unread = client.generate({ prompt: "The sea", maxTokens: 300 });
    await collect(client.generate({ prompt: "Meanwhile", maxTokens: 200 }));
    expect(tokensSent).toBe(264);
    await sleep(50);
    expect(tokensSent).toBe(264);
    expect((await collect(unread)).tokens).toHaveLength(300);
    expect(tokensSent).toBe(500);
  });

  test("leaving the loop, or an aborted signal, cancels in the thread and frees the slot", async () => {
    const cancelled: number[] = [];
    const spawn = (): EngineThread => {
      const thread = spawnNodeEngine(entry);
      const post = (message: ToEngine): void => {
        if (message.type === "cancel") cancelled.push(message.id);
        thread.post(message);
      };
      return { ...thread, post };
    };
    const client = await start({ spawn }, { slots: 1 });
    const left = client.generate({ prompt: "The sea", maxTokens: 390 });
    for await (const { tokens } of left) if (tokens.length > 0) break;
    expect(await left.end).toMatchObject({ finishReason: "cancelled" });

    const controller = new AbortController();
    const aborted = client.generate({ prompt: "The sea", maxTokens: 390, signal: controller.signal });
    let pieces = 0;
    for await (const _ of aborted) if (++pieces === 3) controller.abort();
    expect(pieces).toBe(3);
    expect(await aborted.end).toMatchObject({ finishReason: "cancelled", completionTokens: expect.any(Number) });
    const early = client.generate({ prompt: "x", signal: AbortSignal.abort() });
    expect((await collect(early)).tokens).toEqual([]);
    expect((await collect(client.generate({ prompt: "next", maxTokens: 3 }))).tokens).toHaveLength(3);
    expect(cancelled).toEqual([1, 2, 3]);
  });
});

describe("an engine that dies", () => {
  test("a hanging step ends the thread and rejects everything with the reason", async () => {
    const onDead = vi.fn();
    const client = await start({ onDead, stepSilenceMs: 200 }, { threads: HANGING_THREADS });
    const generations = [client.generate({ prompt: "a" }), client.generate({ prompt: "b" })];
    for (const generation of generations)
      await expect(collect(generation)).rejects.toThrow(/said nothing for 0.2 s during a model step/);
    await expect(generations[0]!.end).rejects.toThrow(EngineDeadError);
    expect(onDead).toHaveBeenCalledTimes(1);
    await expect(client.load(spec)).rejects.toThrow(EngineDeadError);
  });

  test("a crash is told with its cause", async () => {
    const onDead = vi.fn();
    const client = await start({ onDead }, { threads: CRASHING_THREADS });
    await expect(collect(client.generate({ prompt: "a" }))).rejects.toThrow(/crashed: segmentation fault/);
    expect(onDead).toHaveBeenCalledTimes(1);
  });

  test("silence counts only while there is something to say: idle, paused and ended engines live on", async () => {
    const timers = new FakeTimers();
    const thread = new FakeThread();
    const onDead = vi.fn();
    const starting = EngineClient.start({
      spawn: () => thread,
      after: timers.after,
      onDead,
      stepSilenceMs: 1000,
      loadSilenceMs: 5000,
    });
    thread.say({ type: "ready" });
    const client = await starting;
    expect(timers.pending).toBe(0);

    const generation = client.generate({ prompt: "a" });
    expect(timers.pending).toBe(1);
    thread.say({ type: "started", id: 1, promptTokens: [1] });
    timers.advance(900);
    thread.say({
      type: "step",
      items: Array.from({ length: 64 }, () => ({ id: 1, text: "x", tokens: [7], end: undefined })),
    });
    expect(timers.pending).toBe(0);
    const reader = generation[Symbol.asyncIterator]();
    for (let i = 0; i < 20; i++) await reader.next();
    expect(timers.pending).toBe(1);
    timers.advance(1000);
    // The process may have been stopped: what waits at the port comes first.
    thread.say({ type: "step", items: [] });
    timers.advance(1999);
    expect(onDead).not.toHaveBeenCalled();
    timers.advance(60_000);
    expect(onDead).toHaveBeenCalledWith("the engine said nothing for 1 s during a model step");
    expect(thread.terminated).toBe(true);
  });

  test("loading has a longer patience, which progress renews", async () => {
    const timers = new FakeTimers();
    const thread = new FakeThread();
    const starting = EngineClient.start({
      spawn: () => thread,
      after: timers.after,
      stepSilenceMs: 1000,
      loadSilenceMs: 5000,
    });
    thread.say({ type: "ready" });
    const loading = (await starting).load(spec);
    timers.advance(4000);
    thread.say({ type: "loading", progress: { stage: "session" } });
    timers.advance(4000);
    expect(thread.terminated).toBe(false);
    timers.advance(4000);
    await expect(loading).rejects.toThrow("said nothing for 5 s while loading");
  });
});

class FakeThread implements EngineThread {
  terminated = false;
  #handler: (message: FromEngine) => void = () => undefined;
  post(): void {}
  onMessage(handler: (message: FromEngine) => void): void {
    this.#handler = handler;
  }
  onExit(): void {}
  terminate(): void {
    this.terminated = true;
  }
  say(message: FromEngine): void {
    this.#handler(message);
  }
}

class FakeTimers {
  #now = 0;
  #due = new Map<object, { at: number; callback: () => void }>();
  get pending(): number {
    return this.#due.size;
  }
  readonly after = (ms: number, callback: () => void): (() => void) => {
    const key = {};
    this.#due.set(key, { at: this.#now + ms, callback });
    return () => this.#due.delete(key);
  };
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = [...this.#due].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#due.delete(next[0]);
      this.#now = next[1].at;
      next[1].callback();
    }
    this.#now = end;
  }
}
