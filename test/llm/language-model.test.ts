import { afterEach, beforeEach, expect, test } from "vitest";
import type { GenerateRequest } from "../../engine/index.ts";
import type { EngineGraph, EngineHost, EngineOutput } from "../../llm/host.ts";
import { LanguageModel } from "../../llm/index.ts";
import { answerOf } from "../../serve/answer.ts";
import { runtime } from "../../serve/runtime.ts";

const requests: GenerateRequest[] = [];
let running = 0;

/** Says the words one by one; stops when its loop is left or its signal fires. */
function fakeOutput(words: readonly string[], request: GenerateRequest): EngineOutput {
  const end = Promise.withResolvers<{
    promptTokens: number;
    cachedTokens: number;
    completionTokens: number;
    finishReason: "stop" | "cancelled" | "length";
  }>();
  end.promise.catch(() => {});
  let stopped = false;
  let said = 0;
  const finish = (finishReason: "stop" | "cancelled"): void =>
    end.resolve({ promptTokens: 3, cachedTokens: 0, completionTokens: said, finishReason });
  request.signal?.addEventListener("abort", () => void (stopped = true));
  return {
    end: end.promise,
    promptTokens: Promise.resolve([1, 2, 3]),
    cancel: () => void (stopped = true),
    async *[Symbol.asyncIterator]() {
      running++;
      try {
        if (words.length === 0) {
          const error = new RangeError("the prompt has 9 tokens, but a slot holds 8 for prompt and answer together");
          end.reject(error);
          throw error;
        }
        for (const text of words) {
          if (stopped) break;
          said++;
          yield { text, tokens: [said] };
          await Promise.resolve();
        }
      } finally {
        running--;
        finish(said === words.length && !stopped ? "stop" : "cancelled");
      }
    },
  };
}
/** What these tests don't ask for. */
const NO_TEXT = { chatTemplate: undefined, tokenize: async () => [], detokenize: async () => "" };
const host = (words: readonly string[]): EngineHost => ({
  load: async (request) => ({
    provider: "fake",
    slots: request.slots ?? 4,
    slotLength: request.slotLength,
    ...NO_TEXT,
    close: async () => {},
    stats: async () => undefined,
    generate: (r) => (requests.push(r), fakeOutput(words, r)),
  }),
});

beforeEach(() => void ((runtime().engine = host(["Hello", "", " ", "world"])), (requests.length = 0)));
afterEach(() => void delete runtime().engine);

test("awaited it is the whole text, iterated its pieces, with usage", async () => {
  const model = await LanguageModel.load("m");
  expect([model.provider, model.slots, model.slotLength]).toEqual(["fake", 4, 2048]);
  expect(await model.chat([{ role: "user", content: "hi" }], { temperature: 0.5, maxTokens: 7, stop: ["x"] })).toBe(
    "Hello world",
  );
  expect(requests[0]).toMatchObject({
    messages: [{ role: "user", content: "hi" }],
    maxTokens: 7,
    stop: ["x"],
    sampling: { temperature: 0.5 },
  });
  const generation = model.complete("go");
  expect(await Array.fromAsync(generation)).toEqual(["Hello", " ", "world"]);
  expect(await generation.usage).toEqual({
    promptTokens: 3,
    cachedTokens: 0,
    completionTokens: 4,
    finishReason: "stop",
  });
  expect(requests[1]).toMatchObject({ prompt: "go", maxTokens: 512 });
});

test("every option reaches the engine; pieces come with their tokens", async () => {
  const model = await LanguageModel.load("m");
  const options = { minTokens: 2, logprobs: 3, generated: [4], caller: "c", cacheSalt: "s" };
  const sampling = { presencePenalty: 1, frequencyPenalty: -1, logitBias: { 5: 2 }, seed: 7 };
  const responseFormat = { type: "choice", choices: ["yes", "no"] } as const;
  const pieces = await Array.fromAsync(model.complete("go", { ...options, ...sampling, responseFormat }).pieces());
  const elements = ["yes", "no"].map((value) => ({ type: "const_string", value }));
  expect(requests[0]).toMatchObject({ ...options, sampling, grammar: { type: "or", elements } });
  expect(pieces.map(({ text, tokens }) => [text, tokens])).toEqual([
    ["Hello", [1]],
    ["", [2]],
    [" ", [3]],
    ["world", [4]],
  ]);
});

test("choices ask the same with seeds of their own, the first with the seed given", async () => {
  const model = await LanguageModel.load("m");
  await Promise.all(model.choices("go", 4, { temperature: 1, seed: 9 }));
  const seeds = requests.map(({ sampling }) => sampling!.seed!);
  expect(seeds[0]).toBe(9);
  expect(new Set(seeds).size).toBe(4);
  expect(seeds.every(Number.isSafeInteger)).toBe(true);
  await Promise.all(model.choices([{ role: "user", content: "hi" }], 4, { seed: 9 }));
  expect(requests.slice(4).map(({ sampling }) => sampling!.seed)).toEqual(seeds);
  expect(() => model.choices("go", 0)).toThrow("from 1 to 128");
});

test("nothing runs until it is used; it can be consumed once", async () => {
  const model = await LanguageModel.load("m");
  const generation = model.complete("go");
  expect(requests).toHaveLength(0);
  await generation;
  expect(await generation.text()).toBe("Hello world");
  await expect(Array.fromAsync(generation)).rejects.toThrow(/consumed once/);
});

test("leaving the loop stops the engine", async () => {
  const model = await LanguageModel.load("m");
  const generation = model.complete("go");
  for await (const _ of generation) break;
  expect(running).toBe(0);
  expect(await generation.finishReason).toBe("cancelled");
});

test("an aborted signal rejects who awaits", async () => {
  const model = await LanguageModel.load("m");
  const abort = new AbortController();
  const text = model.complete("go", { signal: abort.signal }).text();
  abort.abort();
  await expect(text).rejects.toMatchObject({ code: "CANCELLED" });
});

test("too long a prompt is the caller's mistake and names both lengths", async () => {
  runtime().engine = host([]);
  const model = await LanguageModel.load("m", { slotLength: 8 });
  await expect(Promise.resolve(model.complete("long"))).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message: "The prompt has 9 tokens, but a slot holds 8 for prompt and answer together.",
  });
});

test("returned from fetch it streams as text; .stream() is for async functions", async () => {
  const model = await LanguageModel.load("m");
  const headers = ["content-type", "text/plain; charset=utf-8"];
  expect(answerOf(model.complete("go"))).toMatchObject({ kind: "stream", headers });
  const resolved = await (async () => model.complete("go").stream())();
  const answer = answerOf(resolved);
  if (answer.kind !== "stream") throw new Error("expected a stream");
  expect(answer.headers).toEqual(headers);
  expect((await answer.pieces.next()).value).toBe("Hello");
});

test("what is no language model is refused, and let go", async () => {
  let closed = 0;
  const graph = { kind: "graph", close: async () => void closed++ } as unknown as EngineGraph;
  runtime().engine = { load: async () => graph };
  await expect(LanguageModel.load("all-minilm-l6-v2")).rejects.toThrow('"all-minilm-l6-v2" is no language model');
  expect(closed).toBe(1);
});

test("outside of a replica loading says what to do", async () => {
  delete runtime().engine;
  await expect(LanguageModel.load("m")).rejects.toThrow(
    /runs inside a replica: start the application with `skein run`/,
  );
});

test("return() stops the engine while a piece is awaited", async () => {
  const never = Promise.withResolvers<IteratorResult<{ text: string; tokens: number[] }>>();
  let cancelled = false;
  const end = { promptTokens: 0, cachedTokens: 0, completionTokens: 0, finishReason: "cancelled" as const };
  runtime().engine = {
    load: async () => ({
      provider: "fake",
      slots: 1,
      slotLength: 8,
      ...NO_TEXT,
      close: async () => {},
      stats: async () => undefined,
      generate: () => ({
        end: Promise.resolve(end),
        promptTokens: Promise.resolve([]),
        cancel: () => ((cancelled = true), never.resolve({ done: true, value: undefined })),
        [Symbol.asyncIterator]: () => ({ next: () => never.promise }),
      }),
    }),
  };
  const pieces = (await LanguageModel.load("m")).complete("go")[Symbol.asyncIterator]();
  const next = pieces.next();
  await pieces.return!();
  expect(cancelled).toBe(true);
  expect(await next).toMatchObject({ done: true });
});
