import { afterEach, describe, expect, test } from "vitest";
import { runtime } from "../../../serve/runtime.ts";
import { eventsOf, start } from "./bench.ts";

afterEach(() => void delete runtime().engine);

const ENDPOINTS = {
  "/v1/chat/completions": { messages: [{ role: "user", content: "Hi" }] },
  "/v1/completions": { prompt: "Hi" },
  "/v1/responses": { input: "Hi" },
};
/** Values that no such field may hold. */
const WRONG: Readonly<Record<string, readonly unknown[]>> = {
  temperature: ["1", {}, [1]],
  top_p: ["1", 2],
  top_k: ["1", 1.5],
  min_p: [true],
  repetition_penalty: ["x", 0],
  presence_penalty: ["1", 3],
  frequency_penalty: [{}, -3],
  seed: ["1", 1.5],
  stop: [{ length: 3 }, [{ length: 3 }], [5], [""], "x".repeat(257)],
  min_tokens: ["1", -1],
  logit_bias: [[1], { "5": "10" }, { five: 1 }, Object.fromEntries(Array.from({ length: 1_025 }, (_, id) => [id, 1]))],
  user: [{ length: 3 }, "x".repeat(257)],
  cache_salt: [5, ["salt"]],
  stream: ["yes"],
  stop_token_ids: [5, ["5"], [-1], [1.5], Array.from({ length: 65 }, (_, id) => id)],
  include_stop_str_in_output: ["yes"],
  skip_special_tokens: [0],
  ignore_eos: ["yes"],
  allowed_token_ids: [5, ["5"], [-1], Array.from({ length: 1_025 }, (_, id) => id)],
  return_token_ids: ["yes"],
};

/** Fields that are known elsewhere, in values that this server can't honour. */
const REFUSED = {
  bad_words: ["a"],
  use_beam_search: true,
  truncate_prompt_tokens: 5,
};

describe.each(Object.entries(ENDPOINTS))("%s", (path, fine) => {
  test.each(Object.entries(WRONG))("a wrong %s is named, and reaches no engine", async (field, values) => {
    const { post, requests } = await start(() => ["ok"]);
    for (const value of values) {
      const answer = await post(path, { ...fine, [field]: value });
      const { param } = (await answer.json()).error;
      expect([answer.status, param.split(/[.[]/)[0]], JSON.stringify(value)).toEqual([400, field]);
    }
    expect(requests).toEqual([]);
  });

  test("what is known and not honoured is refused by name; the same fields that ask for nothing are taken", async () => {
    const { post, requests } = await start(() => ["ok"]);
    for (const [field, value] of Object.entries(REFUSED)) {
      const answer = await post(path, { ...fine, [field]: value });
      expect([answer.status, (await answer.json()).error]).toMatchObject([
        400,
        { param: field, code: "unsupported_parameter" },
      ]);
    }
    expect(requests).toEqual([]);
    const nothing = { bad_words: [], use_beam_search: false, prompt_logprobs: null };
    expect((await post(path, { ...fine, ...nothing })).status).toBe(200);
  });

  test("vLLM's words for when an answer ends, and what is shown of it, reach the engine; what asks for nothing doesn't", async () => {
    const { post, requests } = await start(() => ["ok"]);
    const asked = { ignore_eos: true, stop: "x", stop_token_ids: [5], min_tokens: 2, allowed_token_ids: [5, 6] };
    const shown = { include_stop_str_in_output: true, skip_special_tokens: false };
    expect((await post(path, { ...fine, ...asked, ...shown })).status).toBe(200);
    const plain = { ignore_eos: false, stop_token_ids: [], allowed_token_ids: [], include_stop_str_in_output: false };
    expect((await post(path, { ...fine, ...plain, skip_special_tokens: true })).status).toBe(200);
    expect(requests[0]).toMatchObject({
      ignoresEnd: true,
      stop: ["x"],
      stopTokens: [5],
      allowedTokens: [5, 6],
      minTokens: 2,
      includesStop: true,
      showsControl: true,
    });
    for (const name of ["ignoresEnd", "stopTokens", "allowedTokens", "includesStop", "showsControl"])
      expect(requests[1]).not.toHaveProperty(name);
  });
});

test("ids of tokens, where vLLM has them, and in place of what they say; not of streams, nor beside what names them otherwise", async () => {
  const { post } = await start(() => ["a", "b"]);
  const [chat, completion, response] = Object.entries(ENDPOINTS) as [
    [string, object],
    [string, object],
    [string, object],
  ];
  const json = async ([path, fine]: [string, object], more: object) => (await post(path, { ...fine, ...more })).json();
  const chatted = await json(chat, { return_token_ids: true });
  expect(chatted).toMatchObject({ prompt_token_ids: [1, 2, 3, 4, 5], choices: [{ token_ids: [1, 2] }] });
  const completed = await json(completion, { return_token_ids: true });
  expect(completed.choices[0]).toMatchObject({ prompt_token_ids: [1, 2, 3, 4, 5], token_ids: [1, 2] });
  expect(JSON.stringify(await json(chat, {}))).not.toContain("token_ids");
  const named = await json(chat, { logprobs: true, top_logprobs: 2, return_tokens_as_token_ids: true });
  const [first] = named.choices[0].logprobs.content;
  expect([first.token, ...first.top_logprobs.map(({ token }: { token: string }) => token)]).toEqual(
    Array.from({ length: 3 }, () => "token_id:1"),
  );
  const both = await json(completion, { logprobs: 0, return_tokens_as_token_ids: true });
  expect(both.choices[0].logprobs.tokens).toEqual(["token_id:1", "token_id:1"]);
  const paramOf = async (...asked: Parameters<typeof json>) => (await json(...asked)).error.param;
  for (const each of [chat, completion])
    expect(await paramOf(each, { return_token_ids: true, stream: true })).toBe("return_token_ids");
  expect(await paramOf(response, { return_token_ids: true })).toBe("return_token_ids");
  expect(await paramOf(completion, { echo: true, return_tokens_as_token_ids: true })).toBe(
    "return_tokens_as_token_ids",
  );
  const held = { allowed_token_ids: [5], response_format: { type: "json_object" } };
  expect(await paramOf(chat, held)).toBe("allowed_token_ids");
});

test("any seed of 64 bits is taken to its last digit, and has a stream of its own", async () => {
  const { post, requests } = await start(() => ["ok"]);
  const seeds = ["5", "-5", "0", "-1", "-9007199254740991", "9007199254740991"];
  const long = [
    "9007199254740993",
    "9007199254740992",
    "-9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
  ];
  const body = (seed: string): string => `{"prompt":"a","seed":${seed},"metadata":{"seed":7}}`;
  for (const seed of [...seeds, ...long])
    expect([seed, (await post("/v1/completions", body(seed))).status]).toEqual([seed, 200]);
  const used = requests.map(({ sampling }) => sampling!.seed!);
  expect(new Set(used).size).toBe(used.length);
  expect(used.every((seed) => Number.isSafeInteger(seed) && seed >= 0)).toBe(true);
  expect([used[0], used[5]]).toEqual([5, Number.MAX_SAFE_INTEGER]);
  for (const seed of ["9223372036854775808", "-9223372036854775809", "1e30"]) {
    const answer = await post("/v1/completions", body(seed));
    expect([answer.status, (await answer.json()).error.param]).toEqual([400, "seed"]);
  }
});

test("a stream tells the counts with every chunk where that is asked for", async () => {
  const { post } = await start(() => ["a", "b"]);
  for (const [path, fine] of Object.entries(ENDPOINTS).slice(0, 2)) {
    const stream_options = { include_usage: true, continuous_usage_stats: true };
    const events = await eventsOf(await post(path, { ...fine, stream: true, stream_options }));
    const counts = events.slice(0, -1).map((data) => JSON.parse(data).usage.completion_tokens);
    expect(counts).toEqual(path.includes("chat") ? [0, 1, 2, 2, 2] : [1, 2, 2, 2]);
    const alone = await eventsOf(
      await post(path, { ...fine, stream: true, stream_options: { continuous_usage_stats: true } }),
    );
    expect(alone.some((data) => data.includes('"usage"'))).toBe(false);
  }
});

test("/tokenize refuses what it doesn't do", async () => {
  const { post } = await start(() => ["ok"]);
  const messages = [{ role: "user", content: "Hi" }];
  for (const [body, param] of [
    [{ prompt: "a", return_token_strs: true }, "return_token_strs"],
    [{ prompt: "a", add_special_tokens: false }, "add_special_tokens"],
    [{ messages, add_special_tokens: true }, "add_special_tokens"],
    [{ messages, add_generation_prompt: false }, "add_generation_prompt"],
    [{ messages, continue_final_message: true }, "continue_final_message"],
  ] as const) {
    const answer = await post("/tokenize", body);
    expect([answer.status, (await answer.json()).error.param]).toEqual([400, param]);
  }
  expect((await post("/tokenize", { prompt: "a", add_special_tokens: true, return_token_strs: false })).status).toBe(
    200,
  );
});
