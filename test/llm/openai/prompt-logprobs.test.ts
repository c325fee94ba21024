/** What a prompt's own tokens are worth, in the forms of OpenAI and vLLM, as evaluation harnesses read them. */
import { afterEach, describe, expect, test } from "vitest";
import { runtime } from "../../../serve/runtime.ts";
import { eventsOf, start } from "./bench.ts";

afterEach(() => void delete runtime().engine);

const PATH = "/v1/completions";
const choiceOf = async (answer: Response) => (await answer.json()).choices[0];
/** Of the bench's prompt "abc", each token of which "best" would have beaten. */
const PROMPT = {
  tokens: ["a", "b", "c"],
  token_logprobs: [null, -3, -3],
  top_logprobs: [null, { best: -0.5, b: -3 }, { best: -0.5, c: -3 }],
  text_offset: [0, 1, 2],
};

describe("echo with logprobs", () => {
  test("as lm-eval asks: prompts as ids, one token after each; sums and greediness come out as it reckons them", async () => {
    const { post, requests } = await start(() => ["next"], { prompt: "abc" });
    const body = {
      model: "tiny",
      prompt: [
        [97, 98, 99],
        [97, 98, 99],
      ],
      temperature: 0,
      max_tokens: 1,
      logprobs: 1,
      seed: 1234,
      echo: true,
    };
    const { choices } = await (await post(PATH, body)).json();
    expect(requests).toHaveLength(2);
    expect(requests[0]).toMatchObject({ promptLogprobs: 1, logprobs: 1, maxTokens: 1 });
    for (const [index, choice] of choices.entries()) {
      expect(choice).toMatchObject({ index, text: "abcnext", finish_reason: "length" });
      // The harness's own reckoning: what stands between the context and the token that was made.
      const [contextLength, end] = [1, -1];
      const logprobs: number[] = choice.logprobs.token_logprobs.slice(contextLength, end);
      const tops: Record<string, number>[] = choice.logprobs.top_logprobs.slice(contextLength, end);
      expect(logprobs.reduce((sum, value) => sum + value)).toBe(-6);
      expect(logprobs.every((value, at) => value === Math.max(...Object.values(tops[at]!)))).toBe(false);
    }
    expect(choices[0].logprobs).toEqual({
      tokens: [...PROMPT.tokens, "next"],
      token_logprobs: [...PROMPT.token_logprobs, -0.5],
      top_logprobs: [...PROMPT.top_logprobs, { next: -0.5 }],
      text_offset: [0, 1, 2, 3],
    });
  });

  test("no tokens at all: only the prompt comes back, and nothing else is counted", async () => {
    const { post, requests } = await start(() => ["next", "more"], { prompt: "abc" });
    const ask = { prompt: "abc", max_tokens: 0, logprobs: 1, echo: true };
    const answer = await (await post(PATH, ask)).json();
    expect(requests[0]).toMatchObject({ maxTokens: 1 });
    expect(answer.choices[0]).toEqual({ index: 0, text: "abc", logprobs: PROMPT, finish_reason: "length" });
    expect(answer.usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 0, total_tokens: 3 });
    expect((await choiceOf(await post(PATH, { ...ask, logprobs: null }))).logprobs).toBeNull();
    const refused = await post(PATH, { prompt: "abc", max_tokens: 0 });
    expect([refused.status, (await refused.json()).error.param]).toEqual([400, "max_tokens"]);
  });

  test("as a stream: the prompt with its logprobs first, places go on behind it", async () => {
    const { post } = await start(() => ["next", "!"], { prompt: "abc" });
    const events = await eventsOf(await post(PATH, { prompt: "abc", logprobs: 1, echo: true, stream: true }));
    const choices = events.slice(0, -1).map((data) => JSON.parse(data).choices[0]);
    expect(choices.map(({ text }) => text)).toEqual(["abc", "next", "!", ""]);
    expect(choices[0].logprobs).toEqual(PROMPT);
    expect(choices.slice(1, 3).map(({ logprobs }) => logprobs.text_offset)).toEqual([[3], [7]]);
  });

  test("without alternatives each token stands alone", async () => {
    const { post } = await start(() => ["next"], { prompt: "abc" });
    const { logprobs } = await choiceOf(await post(PATH, { prompt: "abc", logprobs: 0, echo: true }));
    expect(logprobs.top_logprobs).toEqual([null, { b: -3 }, { c: -3 }, { next: -0.5 }]);
  });
});

describe("prompt_logprobs", () => {
  const listed = (token: number, text: string) => ({
    7: { logprob: -0.5, rank: 1, decoded_token: "best" },
    [token]: { logprob: -3, rank: 9, decoded_token: text },
  });
  const list = [null, listed(98, "b"), listed(99, "c")];

  test("of completions, in each choice, with and without an echo's own", async () => {
    const { post, requests } = await start(() => ["next"], { prompt: "abc" });
    const choice = await choiceOf(await post(PATH, { prompt: "abc", prompt_logprobs: 1 }));
    expect(choice).toMatchObject({ text: "next", logprobs: null, prompt_logprobs: list });
    const both = await choiceOf(
      await post(PATH, { prompt: "abc", prompt_logprobs: 1, logprobs: 0, echo: true, max_tokens: 0 }),
    );
    expect(both).toMatchObject({ prompt_logprobs: list, logprobs: { top_logprobs: [null, { b: -3 }, { c: -3 }] } });
    expect(requests.map(({ promptLogprobs }) => promptLogprobs)).toEqual([1, 1]);
    expect(await choiceOf(await post(PATH, { prompt: "abc" }))).not.toHaveProperty("prompt_logprobs");
  });

  test("of chats, once for all answers", async () => {
    const { post, requests } = await start(() => ["next"], { prompt: "abc" });
    const ask = { messages: [{ role: "user", content: "Hi" }], n: 2, prompt_logprobs: 1 };
    const answer = await (await post("/v1/chat/completions", ask)).json();
    expect(answer.prompt_logprobs).toEqual(list);
    expect(requests.map(({ promptLogprobs }) => promptLogprobs)).toEqual([1, undefined]);
  });

  test("not of streams, nor more than 20 alternatives", async () => {
    const { post, requests } = await start(() => ["next"]);
    const messages = [{ role: "user", content: "Hi" }];
    for (const [path, body] of [
      [PATH, { prompt: "a" }],
      ["/v1/chat/completions", { messages }],
    ] as const)
      for (const wrong of [{ prompt_logprobs: 0, stream: true }, { prompt_logprobs: 21 }, { prompt_logprobs: -1 }]) {
        const answer = await post(path, { ...body, ...wrong });
        expect([answer.status, (await answer.json()).error.param]).toEqual([400, "prompt_logprobs"]);
      }
    const response = await post("/v1/responses", { input: "a", prompt_logprobs: 0 });
    expect([response.status, (await response.json()).error]).toMatchObject([
      400,
      { param: "prompt_logprobs", code: "unsupported_parameter" },
    ]);
    expect(requests).toEqual([]);
  });
});

test("what stopped an answer is told where it was a stop text, whole and streamed", async () => {
  const { post } = await start(() => ["a", "END", "b"]);
  const messages = [{ role: "user", content: "Hi" }];
  for (const [path, body] of [
    [PATH, { prompt: "a" }],
    ["/v1/chat/completions", { messages }],
  ] as const) {
    const ask = { ...body, stop: ["END"] };
    expect(await choiceOf(await post(path, ask))).toMatchObject({ finish_reason: "stop", stop_reason: "END" });
    const events = await eventsOf(await post(path, { ...ask, stream: true }));
    expect(JSON.parse(events.at(-2)!).choices[0]).toMatchObject({ finish_reason: "stop", stop_reason: "END" });
    expect(await choiceOf(await post(path, body))).not.toHaveProperty("stop_reason");
  }
});
