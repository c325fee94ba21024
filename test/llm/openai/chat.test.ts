import { afterEach, describe, expect, test } from "vitest";
import { choiceSeed, EngineDeadError, EngineFullError, PromptTooLongError } from "../../../engine/index.ts";
import { runtime } from "../../../serve/runtime.ts";
import { engineSeed } from "../../../llm/openai/seeds.ts";
import { eventsOf, start, type Script } from "./bench.ts";

afterEach(() => void delete runtime().engine);

const PATH = "/v1/chat/completions";
const hi = { model: "tiny", messages: [{ role: "user", content: "Hi" }] };
const hello: Script = () => ["Hel", "", "lo"];

/** Without what differs each time. */
const steady = (text: string): string =>
  text.replace(/(chatcmpl|cmpl|call)[-_][0-9a-z]{24}/g, "$1-ID").replace(/"created":\d{10}/g, '"created":0');

describe("a chat in one piece", () => {
  test("has OpenAI's form, an id of its own and the counts", async () => {
    const { post } = await start(hello);
    const [one, two] = await Promise.all([post(PATH, hi), post(PATH, hi)]);
    expect(one.status).toBe(200);
    expect(one.headers.get("content-type")).toBe("application/json");
    const text = await one.text();
    expect(JSON.parse(steady(text))).toEqual({
      id: "chatcmpl-ID",
      object: "chat.completion",
      created: 0,
      model: "tiny",
      system_fingerprint: "fp_skein_fake",
      choices: [
        {
          index: 0,
          message: { role: "assistant", content: "Hello", refusal: null },
          logprobs: null,
          finish_reason: "stop",
        },
      ],
      usage: {
        prompt_tokens: 5,
        completion_tokens: 3,
        total_tokens: 8,
        prompt_tokens_details: { cached_tokens: 2 },
        completion_tokens_details: { reasoning_tokens: 0 },
      },
    });
    expect((await two.json()).id).not.toBe(JSON.parse(text).id);
  });

  test("the engine is asked for what the fields say; unknown fields and null are ignored", async () => {
    const { post, requests } = await start(hello);
    await post(PATH, {
      ...hi,
      temperature: 0.5,
      top_p: 0.9,
      top_k: 7,
      min_p: 0.1,
      repetition_penalty: 1.1,
      seed: -3,
      max_completion_tokens: 9,
      max_tokens: 4,
      stop: ["a", "b"],
      presence_penalty: 1,
      frequency_penalty: -1,
      logit_bias: { "5": 10 },
      min_tokens: 3,
      user: "someone",
      cache_salt: "salt",
      logprobs: false,
      response_format: { type: "text" },
      reasoning_effort: "high",
      metadata: { a: "b" },
      no_such_field: 1,
      tools: null,
    });
    await post(PATH, { ...hi, stop: "x", top_p: 0 });
    expect(requests[0]).toMatchObject({
      messages: hi.messages,
      sampling: {
        temperature: 0.5,
        topP: 0.9,
        topK: 7,
        minP: 0.1,
        repetitionPenalty: 1.1,
        presencePenalty: 1,
        frequencyPenalty: -1,
        logitBias: { 5: 10 },
        seed: engineSeed(-3),
      },
      minTokens: 3,
      caller: "someone",
      cacheSalt: "salt",
      maxTokens: 9,
      stop: ["a", "b"],
    });
    expect(requests[1]).toMatchObject({ sampling: { temperature: 1, topK: 0 }, stop: ["x"] });
    expect(requests[1]).not.toHaveProperty("maxTokens");
    expect(requests[1]!.sampling?.topP).toBeGreaterThan(0);
  });

  test("messages may be parts, of any role, and null beside tool calls", async () => {
    const { post, requests } = await start(hello);
    const answer = await post(PATH, {
      messages: [
        { role: "developer", content: "Be brief." },
        {
          role: "user",
          content: [
            { type: "text", text: "a" },
            { type: "text", text: "b" },
          ],
        },
        {
          role: "assistant",
          content: null,
          tool_calls: [{ id: "call_1", type: "function", function: { name: "now", arguments: '{"zone":"utc"}' } }],
        },
        { role: "tool", tool_call_id: "call_1", content: "12:00" },
      ],
    });
    expect(answer.status).toBe(200);
    expect(requests[0]).toMatchObject({
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "ab" },
        { role: "assistant", content: '<tool_call>\n{"name":"now","arguments":{"zone":"utc"}}\n</tool_call>' },
        { role: "user", content: "<tool_response>\n12:00\n</tool_response>" },
      ],
    });
  });

  test("n answers have a seed each and share the prompt's count", async () => {
    const { post, requests } = await start((_, index) => [`answer ${index}`]);
    const answer = await (await post(PATH, { ...hi, n: 3, seed: 7, timings: true })).json();
    expect(answer.choices.map((c: { message: { content: string } }) => c.message.content)).toEqual([
      "answer 0",
      "answer 1",
      "answer 2",
    ]);
    expect(requests.map((r) => r.sampling?.seed)).toEqual([7, choiceSeed(7, 1), choiceSeed(7, 2)]);
    expect(answer.usage).toMatchObject({
      prompt_tokens: 5,
      completion_tokens: 3,
      prompt_tokens_details: { cached_tokens: 2 },
    });
    expect(Object.keys(answer.timings)).toEqual([
      "time_to_first_token_ms",
      "generation_time_ms",
      "mean_itl_ms",
      "tokens_per_second",
    ]);
    const other = await start(hello);
    await Promise.all([other.post(PATH, hi), other.post(PATH, hi)]);
    expect(other.requests[0]!.sampling?.seed).not.toBe(other.requests[1]!.sampling?.seed);
  });

  test("an answer that reaches its limit ends with length", async () => {
    const { post } = await start(() => ["a", "b", "c"]);
    expect((await (await post(PATH, { ...hi, max_tokens: 2 })).json()).choices[0]).toMatchObject({
      message: { content: "ab" },
      finish_reason: "length",
    });
  });
});

describe("a chat as a stream", () => {
  test.each([false, true])("is role, text, end, counts and the end mark, under one id (router: %s)", async (router) => {
    const { post } = await start(hello, { router });
    const answer = await post(PATH, { ...hi, stream: true, stream_options: { include_usage: true } });
    expect(Object.fromEntries(answer.headers)).toEqual({
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      "x-accel-buffering": "no",
    });
    const head =
      '{"id":"chatcmpl-ID","object":"chat.completion.chunk","created":0,"model":"tiny","system_fingerprint":"fp_skein_fake","choices":[';
    const tail = ',"logprobs":null,"finish_reason":null}],"usage":null}';
    const text = await answer.text();
    expect(new Set(text.match(/chatcmpl-\w+/g)).size).toBe(1);
    expect(steady(text)).toBe(
      [
        `${head}{"index":0,"delta":{"role":"assistant","content":"","refusal":null}${tail}`,
        `${head}{"index":0,"delta":{"content":"Hel"}${tail}`,
        `${head}{"index":0,"delta":{"content":"lo"}${tail}`,
        `${head}{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}`,
        `${head}],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":0}}}`,
        "[DONE]",
      ]
        .map((data) => `data: ${data}\n\n`)
        .join(""),
    );
  });

  test("every line is JSON, whatever the text and the model's name are", async () => {
    const nasty = 'a"b\\c\n\u2028\u0000é🙂';
    const { post } = await start(() => [nasty], { models: [{ source: "x", id: 'odd"\\name' }] });
    const events = await eventsOf(await post(PATH, { ...hi, model: 'odd"\\name', stream: true }));
    expect(events.at(-1)).toBe("[DONE]");
    const chunks = events.slice(0, -1).map((data) => JSON.parse(data));
    expect(chunks[1].choices[0].delta.content).toBe(nasty);
    expect(chunks.every((chunk) => chunk.model === 'odd"\\name' && !("usage" in chunk))).toBe(true);
  });

  test("an empty answer still has role, end and exactly one end mark; several answers are told apart", async () => {
    const { post } = await start(() => []);
    expect((await eventsOf(await post(PATH, { ...hi, stream: true }))).map((e) => e.slice(-40))).toHaveLength(3);
    const many = await start((_, index) => [`${index}`, "!"]);
    const events = await eventsOf(await many.post(PATH, { ...hi, stream: true, n: 2 }));
    expect(events.filter((data) => data === "[DONE]")).toHaveLength(1);
    const texts = ["", ""];
    for (const data of events.slice(0, -1)) {
      const { index, delta } = JSON.parse(data).choices[0];
      texts[index] += delta.content ?? "";
    }
    expect(texts).toEqual(["0!", "1!"]);
  });

  test.each([false, true])("the role is there first; who leaves stops the engine (router: %s)", async (router) => {
    const bench = await start(() => ["…"], { router });
    const answer = await bench.post(PATH, { ...hi, stream: true });
    const reader = answer.body!.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toContain('"role":"assistant"');
    void reader.read();
    expect(bench.cancelled).toBe(0);
    await reader.cancel();
    expect(bench.cancelled).toBe(1);
  });

  test("an engine that breaks in mid-stream is one last event, without the end mark", async () => {
    const { post } = await start(() => ["a", "†"]);
    const events = await eventsOf(await post(PATH, { ...hi, stream: true }));
    expect(JSON.parse(events.at(-1)!)).toMatchObject({ error: { type: "server_error", code: "internal_error" } });
    expect(events).toHaveLength(3);
  });

  test.each([
    [PATH, hi],
    ["/v1/completions", { prompt: "a" }],
    ["/v1/responses", { input: "a" }],
  ])("an engine that breaks before it says anything is no stream (%s)", async (path, body) => {
    const { post } = await start(() => ["†"]);
    const answer = await post(path, { ...body, stream: true });
    expect([answer.status, answer.headers.get("content-type")]).toEqual([500, "application/json"]);
    expect((await answer.json()).error).toMatchObject({ type: "server_error", code: "internal_error" });
  });
});

describe("what is wrong is told in OpenAI's form", () => {
  const cases: readonly (readonly [object, string | null, string, RegExp])[] = [
    [{ messages: undefined }, "messages", "missing_required_parameter", /Missing required parameter: 'messages'/],
    [{ messages: [] }, "messages", "invalid_value", /at least one/],
    [{ messages: [{ role: "usr", content: "x" }] }, "messages[0].role", "invalid_value", /expected one of/],
    [{ messages: [{ role: "user" }] }, "messages[0].content", "missing_required_parameter", /content/],
    [
      { messages: [{ role: "tool", content: "x" }] },
      "messages[0].tool_call_id",
      "missing_required_parameter",
      /tool_call/,
    ],
    [
      { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }] },
      "messages[0].content[0]",
      "unsupported_parameter",
      /reads text only, not 'image_url'/,
    ],
    [
      {
        messages: [{ role: "assistant", tool_calls: [{ type: "function", function: { name: "f", arguments: "[" } }] }],
      },
      "messages[0].tool_calls[0].function.arguments",
      "invalid_value",
      /JSON text of an object/,
    ],
    [{ temperature: 2.1 }, "temperature", "invalid_value", /between 0 and 2/],
    [{ temperature: "hot" }, "temperature", "invalid_type", /number/],
    [{ top_p: -0.1 }, "top_p", "invalid_value", /between 0 and 1/],
    [{ n: 0 }, "n", "invalid_value", /between 1 and 16/],
    [{ max_tokens: 1.5 }, "max_tokens", "invalid_value", /whole number/],
    [{ stop: ["1", "2", "3", "4", "5"] }, "stop", "invalid_value", /up to 4/],
    [{ min_tokens: 4, max_tokens: 3 }, "min_tokens", "invalid_value", /above the most/],
    [{ user: "x".repeat(300) }, "user", "invalid_value", /256/],
    [{ presence_penalty: 3 }, "presence_penalty", "invalid_value", /between -2 and 2/],
    [{ logit_bias: { a: 1 } }, "logit_bias.a", "invalid_value", /./],
    [{ top_logprobs: 2 }, "top_logprobs", "invalid_value", /'logprobs' is true/],
    [{ stream_options: { include_usage: true } }, "stream_options", "invalid_value", /'stream' is true/],
    [{ functions: [{ name: "f" }] }, "functions", "unsupported_parameter", /'tools'/],
    [{ modalities: ["audio"] }, "modalities", "unsupported_parameter", /text/],
    [{ tools: [{ type: "web_search" }] }, "tools[0].type", "invalid_value", /only functions/],
    [{ tool_choice: "required" }, "tool_choice", "invalid_value", /'tools' are given/],
    [
      {
        tools: [{ type: "function", function: { name: "f" } }],
        tool_choice: { type: "function", function: { name: "g" } },
      },
      "tool_choice",
      "invalid_value",
      /no function 'g'/,
    ],
  ];
  test.each(cases)("%j", async (fields, param, code, message) => {
    const { post, requests } = await start(hello);
    for (const stream of [false, true]) {
      const answer = await post(PATH, { ...hi, ...fields, ...(stream ? { stream } : {}) });
      if (stream && param === "stream_options") continue;
      expect(answer.status).toBe(400);
      const { error } = await answer.json();
      expect(error).toEqual({ message: expect.stringMatching(message), type: "invalid_request_error", param, code });
    }
    expect(requests).toHaveLength(param === "stream_options" ? 1 : 0);
  });

  test("what the assistant refused before is part of the conversation", async () => {
    const { post, requests } = await start(hello);
    const refused = { role: "assistant", content: [{ type: "refusal", refusal: "I won't." }] };
    expect((await post(PATH, { messages: [...hi.messages, refused, ...hi.messages] })).status).toBe(200);
    expect((await post("/v1/responses", { input: [...hi.messages, refused, ...hi.messages] })).status).toBe(200);
    const said = { messages: [{}, { role: "assistant", content: "I won't." }, {}] };
    expect(requests).toMatchObject([said, said]);
  });

  test("an engine that ended is a 503 that says when to come again; what it refuses is a 400 of the prompt", async () => {
    const dead = await start(() => new EngineDeadError("out of memory"));
    const answer = await dead.post(PATH, hi);
    expect([answer.status, answer.headers.get("retry-after"), (await answer.json()).error]).toMatchObject([
      503,
      "2",
      { code: "engine_dead", type: "server_error" },
    ]);
    for (const [path, body, param] of [
      ["/v1/completions", { prompt: [600] }, "prompt"],
      ["/v1/responses", { input: "Hi" }, "input"],
      [PATH, hi, "messages"],
    ] as const) {
      const refusing = await start(() => new RangeError("token 600 is not in the vocabulary of 512"));
      const { error } = await (await refusing.post(path, body)).json();
      expect(error).toMatchObject({ param, code: "invalid_value" });
    }
  });

  test("a prompt that is too long, before any chunk; an engine that is broken, without its details", async () => {
    const long = await start(() => new PromptTooLongError("the prompt has 9 tokens, but a slot holds 8"));
    for (const stream of [false, true]) {
      const answer = await long.post(PATH, { ...hi, stream });
      expect([answer.status, (await answer.json()).error]).toEqual([
        400,
        {
          message: "The prompt has 9 tokens, but a slot holds 8.",
          type: "invalid_request_error",
          param: "messages",
          code: "context_length_exceeded",
        },
      ]);
    }
    const full = await start(() => new EngineFullError("the engine is full: 256 generations run or wait"));
    const later = await full.post(PATH, hi);
    expect([later.status, later.headers.get("retry-after")]).toEqual([429, "1"]);
    expect((await later.json()).error).toMatchObject({ type: "rate_limit_error", code: "rate_limit_exceeded" });
    const broken = await start(() => new Error("secret detail"));
    const answer = await broken.post(PATH, hi);
    expect(answer.status).toBe(500);
    expect(await answer.text()).toMatch(/Internal Server Error \(Request ID: local-\d+\)/);
  });
});

describe("logprobs", () => {
  const told = (text: string) => ({ token: text, logprob: -0.5, bytes: [...Buffer.from(text)] });
  const other = { token: "other", logprob: -9999, bytes: [...Buffer.from("other")] };

  test("whole and streamed, of every token, with as many others as are wanted", async () => {
    const { post, requests } = await start(() => ["é", ""]);
    const ask = { ...hi, logprobs: true, top_logprobs: 2 };
    const content = ["é", ""].map((text) => ({ ...told(text), top_logprobs: [told(text), other] }));
    expect((await (await post(PATH, ask)).json()).choices[0].logprobs).toEqual({ content, refusal: null });
    const events = await eventsOf(await post(PATH, { ...ask, stream: true }));
    const chunks = events.slice(1, -2).map((data) => JSON.parse(data).choices[0]);
    expect(chunks.map(({ logprobs }) => logprobs.content[0])).toEqual(content);
    await post(PATH, { ...hi, logprobs: true });
    expect(requests.map(({ logprobs }) => logprobs)).toEqual([2, 2, 0]);
  });

  test("of completions: lists with places", async () => {
    const { post } = await start(() => ["ab", "c"]);
    const ask = { prompt: "xyz", logprobs: 1 };
    const whole = {
      tokens: ["ab", "c"],
      token_logprobs: [-0.5, -0.5],
      top_logprobs: [{ ab: -0.5 }, { c: -0.5 }],
      text_offset: [0, 2],
    };
    expect((await (await post("/v1/completions", ask)).json()).choices[0].logprobs).toEqual(whole);
    const events = await eventsOf(await post("/v1/completions", { ...ask, stream: true }));
    const offsets = events.slice(0, 2).map((data) => JSON.parse(data).choices[0].logprobs.text_offset[0]);
    expect(offsets).toEqual([0, 2]);
  });
});
