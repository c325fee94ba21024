import { afterEach, describe, expect, test } from "vitest";
import { PromptTooLongError } from "../../../engine/index.ts";
import { runtime } from "../../../serve/runtime.ts";
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
      usage: { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 },
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
      presence_penalty: 0,
      logit_bias: {},
      logprobs: false,
      response_format: { type: "text" },
      reasoning_effort: "high",
      metadata: { a: "b" },
      no_such_field: 1,
      tools: null,
      user: null,
    });
    await post(PATH, { ...hi, stop: "x", top_p: 0 });
    expect(requests[0]).toMatchObject({
      messages: hi.messages,
      sampling: { temperature: 0.5, topP: 0.9, topK: 7, minP: 0.1, repetitionPenalty: 1.1, seed: 3 },
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
    expect(requests.map((r) => r.sampling?.seed)).toEqual([7, 8, 9]);
    expect(answer.usage).toEqual({ prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 });
    expect(Object.keys(answer.timings)).toEqual([
      "queue_time_ms",
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
  test("is role, text, end, counts and the end mark, under one id", async () => {
    const { post } = await start(hello);
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
        `${head}],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}`,
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

  test("the role is there before the model says anything; who leaves stops it", async () => {
    const bench = await start(() => ["…"]);
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
    expect(requests.filter(({ maxTokens }) => maxTokens !== undefined)).toHaveLength(0);
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
    const broken = await start(() => new Error("secret detail"));
    const answer = await broken.post(PATH, hi);
    expect(answer.status).toBe(500);
    expect(await answer.text()).toMatch(/Internal Server Error \(Request ID: local-\d+\)/);
  });
});

describe("functions", () => {
  const tools = [
    {
      type: "function",
      function: { name: "weather", description: "It.", parameters: { type: "object", properties: {} } },
    },
  ];
  const said = ["I'll look. <tool", '_call>{"name":"weather","arguments":{"city":', '"Paris"}}</tool_call>'];
  const QWEN = "{% if tools %}{{ tools | tojson }}<tool_call>{% endif %}";

  test("a call comes out whole, with content null where nothing else was said", async () => {
    const { post, requests } = await start((_, index) => said.slice(index), { template: QWEN });
    const { choices } = await (await post(PATH, { ...hi, tools })).json();
    expect(choices[0]).toMatchObject({
      finish_reason: "tool_calls",
      message: {
        content: "I'll look.",
        tool_calls: [{ type: "function", function: { name: "weather", arguments: '{"city":"Paris"}' } }],
      },
    });
    expect(choices[0].message.tool_calls[0].id).toMatch(/^call_/);
    expect(requests[0]).toMatchObject({ tools, messages: hi.messages });
    const forced = await post(PATH, { ...hi, tools, tool_choice: { type: "function", function: { name: "weather" } } });
    expect(requests[1]).toMatchObject({ answerPrefix: '<tool_call>\n{"name": "weather", "arguments": {' });
    expect((await forced.json()).choices[0].finish_reason).toBe("stop");
    await post(PATH, { ...hi, tools, tool_choice: "required" });
    await post(PATH, {
      ...hi,
      tools: [...tools, { type: "function", function: { name: "f" } }],
      tool_choice: "required",
    });
    expect(requests[2]).toMatchObject({ answerPrefix: '<tool_call>\n{"name": "weather", "arguments": {' });
    expect(requests[3]).toMatchObject({ answerPrefix: '<tool_call>\n{"name": "' });
  });

  test("a forced call goes on from what stands in the prompt", async () => {
    const { post } = await start(() => ['"city":"Rome"', "}}", "\n</tool_call> and so on"], { template: QWEN });
    const choice = { type: "function", function: { name: "weather" } };
    const { choices } = await (await post(PATH, { ...hi, tools, tool_choice: choice })).json();
    expect(choices[0]).toMatchObject({
      finish_reason: "stop",
      message: { content: null, tool_calls: [{ function: { name: "weather", arguments: '{"city":"Rome"}' } }] },
    });
  });

  test("streamed, a call has index, id and name, then its arguments", async () => {
    const { post } = await start(() => said, { template: QWEN });
    const events = await eventsOf(await post(PATH, { ...hi, tools, stream: true }));
    const choices = events.slice(0, -1).map((data) => JSON.parse(steady(data)).choices[0]);
    expect(choices.map(({ delta }) => delta)).toEqual([
      { role: "assistant", content: null, refusal: null },
      { content: "I'll look." },
      { tool_calls: [{ index: 0, id: "call-ID", type: "function", function: { name: "weather", arguments: "" } }] },
      { tool_calls: [{ index: 0, function: { arguments: '{"city":"Paris"}' } }] },
      {},
    ]);
    expect(choices.at(-1).finish_reason).toBe("tool_calls");
  });

  test("a template that knows no tools gets them as text; with tool_choice none they are not told", async () => {
    const { post, requests } = await start(() => ["ok"]);
    await post(PATH, { ...hi, tools });
    await post(PATH, { ...hi, tools, tool_choice: "none" });
    expect(requests[0]).toMatchObject({
      messages: [
        { role: "system", content: expect.stringContaining('{"name":"weather","description":"It."') },
        hi.messages[0],
      ],
    });
    expect(requests[1]).toMatchObject({ messages: hi.messages });
  });

  test("parallel_tool_calls false ends the answer with its first call", async () => {
    const two = '<tool_call>{"name":"weather"}</tool_call>';
    const bench = await start(() => [two, two, "…"], { template: QWEN });
    const { choices } = await (await bench.post(PATH, { ...hi, tools, parallel_tool_calls: false })).json();
    expect(choices[0].message.tool_calls).toHaveLength(1);
    expect(choices[0].finish_reason).toBe("tool_calls");
    expect(bench.cancelled).toBe(1);
  });
});

test("what the engine can't do yet is refused by its name", async () => {
  const { post } = await start(hello);
  const fields = {
    presence_penalty: 1,
    frequency_penalty: -1,
    logit_bias: { "5": 10 },
    min_tokens: 3,
    logprobs: true,
    response_format: { type: "json_object" },
  };
  for (const [field, value] of Object.entries(fields)) {
    const answer = await post(PATH, { ...hi, [field]: value });
    expect(answer.status).toBe(400);
    expect((await answer.json()).error).toMatchObject({ param: field, code: "unsupported_parameter" });
  }
});
