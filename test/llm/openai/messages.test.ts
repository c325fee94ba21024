/** `/v1/messages` as Anthropic's clients speak it, in front of models that say what they are told to. */
import { afterEach, describe, expect, test } from "vitest";
import { runtime } from "../../../serve/runtime.ts";
import { CHATML, start } from "./bench.ts";

afterEach(() => void delete runtime().engine);

const PATH = "/v1/messages";
const hi = { model: "tiny", max_tokens: 20, messages: [{ role: "user", content: "Hi" }] };
const QWEN = "{% if tools %}<tool_call>{% endif %}{% if enable_thinking is false %}<think>\n\n</think>{% endif %}";
const ALWAYS = `${CHATML}{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}`;
const tools = [
  { name: "weather", description: "It.", input_schema: { type: "object", properties: { city: { type: "string" } } } },
];
const CALL = ["I look.", "\n<tool", '_call>{"name": "weather", "argu', 'ments": {"city": "Paris"}}</tool_call>'];

interface MessageEvent {
  readonly type: string;
  readonly index?: number;
  readonly [more: string]: unknown;
}
/** A stream's events; each is named as its data says. */
async function eventsOf(answer: Response): Promise<MessageEvent[]> {
  const blocks = (await answer.text()).split("\n\n").filter((block) => block !== "");
  return blocks.map((block) => {
    const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(block)!;
    const read = JSON.parse(data!);
    expect(read.type).toBe(name);
    return read;
  });
}

describe("an answer", () => {
  test("is one message with what it cost; what was cached is counted apart", async () => {
    const { post, requests } = await start(() => ["Hel", "lo"]);
    const answer = await post(PATH, {
      ...hi,
      system: [
        { type: "text", text: "Be", cache_control: { type: "ephemeral" } },
        { type: "text", text: "brief." },
      ],
      temperature: 0.5,
      top_k: 3,
      metadata: { user_id: "me" },
    });
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(await answer.json()).toEqual({
      id: expect.stringMatching(/^msg_\w{24}$/),
      type: "message",
      role: "assistant",
      model: "tiny",
      content: [{ type: "text", text: "Hello" }],
      stop_reason: "end_turn",
      stop_sequence: null,
      usage: { input_tokens: 3, cache_creation_input_tokens: 0, cache_read_input_tokens: 2, output_tokens: 2 },
    });
    expect(requests[0]).toMatchObject({
      messages: [
        { role: "system", content: "Be\nbrief." },
        { role: "user", content: "Hi" },
      ],
      sampling: { temperature: 0.5, topK: 3 },
      maxTokens: 20,
      caller: "me",
    });
  });

  test("ends at its length, or at a stop sequence, which it names", async () => {
    const { post } = await start(() => ["a", "END", "b"]);
    expect(await (await post(PATH, { ...hi, max_tokens: 1 })).json()).toMatchObject({ stop_reason: "max_tokens" });
    expect(await (await post(PATH, { ...hi, stop_sequences: ["x", "END"] })).json()).toMatchObject({
      content: [{ text: "a" }],
      stop_reason: "stop_sequence",
      stop_sequence: "END",
    });
  });

  test("as a stream it is built block by block, and the counts come with its end", async () => {
    const { post } = await start(() => ["Hel", "lo"]);
    const answer = await post(PATH, { ...hi, stream: true });
    expect(answer.headers.get("content-type")).toMatch("text/event-stream");
    const [begin, ...rest] = await eventsOf(answer);
    expect(begin).toMatchObject({
      type: "message_start",
      message: { type: "message", role: "assistant", content: [], stop_reason: null, usage: { output_tokens: 0 } },
    });
    const piece = (text: string) => ({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } });
    expect(rest).toEqual([
      { type: "ping" },
      { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
      piece("Hel"),
      piece("lo"),
      { type: "content_block_stop", index: 0 },
      {
        type: "message_delta",
        delta: { stop_reason: "end_turn", stop_sequence: null },
        usage: { input_tokens: 3, cache_creation_input_tokens: 0, cache_read_input_tokens: 2, output_tokens: 2 },
      },
      { type: "message_stop" },
    ]);
  });

  test("that breaks in mid-stream is one last event in the same words; who leaves stops the engine", async () => {
    const bench = await start(() => ["a", "†"]);
    const events = await eventsOf(await bench.post(PATH, { ...hi, stream: true }));
    expect(events.at(-1)).toMatchObject({ type: "error", error: { type: "api_error" } });
    expect(JSON.stringify(events)).not.toContain("the model broke");
    const slow = await start(() => ["a", "…"]);
    const reader = (await slow.post(PATH, { ...hi, stream: true })).body!.getReader();
    await reader.read();
    await reader.cancel();
    await expect.poll(() => slow.cancelled).toBe(1);
  });
});

describe("tools", () => {
  test("are described as functions; a call is a block behind the text, whole and streamed", async () => {
    const { post, requests } = await start(() => CALL, { template: QWEN });
    const { content, stop_reason: reason } = await (await post(PATH, { ...hi, tools })).json();
    const call = { type: "tool_use", id: expect.stringMatching(/^toolu_\w+$/), name: "weather" };
    expect([content, reason]).toEqual([
      [
        { type: "text", text: "I look." },
        { ...call, input: { city: "Paris" } },
      ],
      "tool_use",
    ]);
    const { name, description, input_schema: parameters } = tools[0]!;
    expect(requests[0]).toMatchObject({ tools: [{ type: "function", function: { name, description, parameters } }] });
    const events = await eventsOf(await post(PATH, { ...hi, tools, stream: true }));
    const ofCall = events.filter(({ index }) => index === 1);
    expect(ofCall).toEqual([
      { type: "content_block_start", index: 1, content_block: { ...call, input: {} } },
      {
        type: "content_block_delta",
        index: 1,
        delta: { type: "input_json_delta", partial_json: '{"city":"Paris"}' },
      },
      { type: "content_block_stop", index: 1 },
    ]);
    expect(events.at(-2)).toMatchObject({ delta: { stop_reason: "tool_use" } });
  });

  test("which is wanted: any, one by its name, none, only one", async () => {
    const { post, requests } = await start(() => CALL, { template: QWEN });
    const choices = [
      { type: "any" },
      { type: "any", disable_parallel_tool_use: true },
      { type: "tool", name: "weather" },
      { type: "none" },
      { type: "auto" },
    ];
    for (const tool_choice of choices) expect((await post(PATH, { ...hi, tools, tool_choice })).status).toBe(200);
    const ends = requests.map(
      ({ grammar }) => (grammar as { stop_after_first?: boolean } | undefined)?.stop_after_first,
    );
    expect(ends).toEqual([false, true, true, undefined, undefined]);
    expect(requests.map((request) => "tools" in request && request.tools?.length)).toEqual([1, 1, 1, false, 1]);
    const unknown = await post(PATH, { ...hi, tools, tool_choice: { type: "tool", name: "none" } });
    expect([unknown.status, (await unknown.json()).error.message]).toEqual([400, expect.stringContaining("'none'")]);
  });

  test("a history with calls and results becomes the turns that templates know", async () => {
    const { post, requests } = await start(() => ["ok"], { template: QWEN });
    const messages = [
      { role: "user", content: [{ type: "text", text: "Weather?" }] },
      { role: "user", content: "In Paris." },
      {
        role: "assistant",
        content: [
          { type: "thinking", thinking: "Hm.", signature: "" },
          { type: "redacted_thinking", data: "x" },
          { type: "text", text: "I look." },
          { type: "tool_use", id: "t1", name: "weather", input: { city: "Paris" } },
          { type: "tool_use", id: "t2", name: "weather", input: {} },
        ],
      },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: "t1", content: [{ type: "text", text: "wet" }] },
          { type: "tool_result", tool_use_id: "t2", content: "dry", is_error: true },
          { type: "text", text: "So?" },
        ],
      },
    ];
    expect((await post(PATH, { ...hi, messages, tools })).status).toBe(200);
    const call = (id: string, values: object) => ({
      type: "function",
      id,
      function: { name: "weather", arguments: values },
    });
    expect(requests[0]).toMatchObject({
      messages: [
        { role: "user", content: "Weather?\nIn Paris." },
        {
          role: "assistant",
          content: "I look.",
          reasoning_content: "Hm.",
          tool_calls: [call("t1", { city: "Paris" }), call("t2", {})],
        },
        { role: "tool", content: "wet", tool_call_id: "t1" },
        { role: "tool", content: "dry", tool_call_id: "t2" },
        { role: "user", content: "So?" },
      ],
    });
  });
});

describe("thinking", () => {
  const thinks = () => ["<think>", "\nHm.\n", "</think>", "\n\n", "Yes."];
  test("is a block of its own before the text; it is wanted only where it is asked for", async () => {
    const { post, requests } = await start(thinks, { template: QWEN });
    const { content } = await (await post(PATH, { ...hi, thinking: { type: "enabled", budget_tokens: 9 } })).json();
    expect(content).toEqual([
      { type: "thinking", thinking: "Hm.", signature: "" },
      { type: "text", text: "Yes." },
    ]);
    const events = await eventsOf(await post(PATH, { ...hi, stream: true }));
    expect(events.map(({ type, index }) => `${type} ${index ?? ""}`.trim())).toEqual([
      "message_start",
      "ping",
      "content_block_start 0",
      "content_block_delta 0",
      "content_block_stop 0",
      "content_block_start 1",
      "content_block_delta 1",
      "content_block_stop 1",
      "message_delta",
      "message_stop",
    ]);
    await post(PATH, { ...hi, thinking: { type: "disabled" } });
    expect(requests.map((request) => "messages" in request && request.values)).toEqual([
      { enable_thinking: true },
      { enable_thinking: false },
      { enable_thinking: false },
    ]);
  });

  test("of a model that always thinks can't be switched off, but needn't be asked for", async () => {
    const { post } = await start(thinks, { template: ALWAYS });
    expect((await post(PATH, hi)).status).toBe(200);
    const refused = await post(PATH, { ...hi, thinking: { type: "disabled" } });
    expect([refused.status, (await refused.json()).error.message]).toEqual([
      400,
      "Unsupported parameter: 'thinking': this model always thinks.",
    ]);
  });
});

test("an answer by a schema", async () => {
  const { post, requests } = await start(() => ["{}"]);
  const schema = { type: "object", properties: {} };
  expect((await post(PATH, { ...hi, output_config: { format: { type: "json_schema", schema } } })).status).toBe(200);
  expect(requests[0]!.grammar).toEqual({ type: "json_schema", json_schema: schema });
});

test("tokens are counted as they would be read, without a length", async () => {
  const { post, tokenized, requests } = await start(() => ["ok"], { template: QWEN });
  const { max_tokens: _, ...asked } = hi;
  const answer = await post(`${PATH}/count_tokens?beta=true`, { ...asked, tools, system: "Be brief." });
  expect(await answer.json()).toEqual({ input_tokens: 3 });
  expect(tokenized).toMatchObject([
    {
      messages: [{ role: "system" }, { role: "user" }],
      tools: [{ type: "function" }],
      values: { enable_thinking: false },
    },
  ]);
  expect(requests).toEqual([]);
});

describe("what is wrong is told in Anthropic's form", () => {
  test.each([
    [{ max_tokens: undefined }, "Missing required parameter: 'max_tokens'."],
    [{ max_tokens: 0 }, "'max_tokens'"],
    [{ messages: [] }, "'messages'"],
    [{ messages: [{ role: "tool", content: "x" }] }, "'messages[0].role'"],
    [{ messages: [{ role: "user", content: [{ type: "image", source: {} }] }] }, "'messages[0].content[0]'"],
    [{ messages: [{ role: "user", content: [{ type: "tool_use", id: "a", name: "b", input: {} }] }] }, "'tool_use'"],
    [{ messages: [{ role: "user", content: [{ type: "tool_result", content: "a" }] }] }, "content[0].tool_use_id'"],
    [
      {
        messages: [
          { role: "user", content: "Hi" },
          { role: "assistant", content: "{" },
        ],
      },
      "end with a message of the user's",
    ],
    [{ tools: [{ type: "web_search_20250305", name: "web_search" }] }, "'tools[0]'"],
    [{ tools: [{ name: "a b", input_schema: {} }] }, "'tools[0].name'"],
    [{ tools: [{ name: "a" }] }, "'tools[0].input_schema'"],
    [{ tool_choice: { type: "any" } }, "'tool_choice'"],
    [{ stop_sequences: [""] }, "'stop_sequences[0]'"],
    [{ mcp_servers: [{}] }, "'mcp_servers'"],
    [{ context_management: {} }, "'context_management'"],
    [{ service_tier: "priority" }, "'service_tier'"],
    [{ temperature: "hot" }, "'temperature'"],
    [{ prompt_logprobs: 1 }, "'prompt_logprobs'"],
  ])("%j", async (wrong, message) => {
    const { post, requests } = await start(() => ["ok"]);
    const answer = await post(PATH, { ...hi, ...wrong });
    expect([answer.status, await answer.json()]).toEqual([
      400,
      { type: "error", error: { type: "invalid_request_error", message: expect.stringContaining(message) } },
    ]);
    expect(requests).toEqual([]);
  });

  test("as are other failures: no such model, no JSON, a wrong method; a model of this name changes nothing", async () => {
    const { post, get } = await start(() => ["ok"], { models: ["tiny", "messages"] });
    const typeOf = async (answer: Response) => [answer.status, (await answer.json()).error?.type];
    expect(await typeOf(await post(PATH, { ...hi, model: "none" }))).toEqual([404, "not_found_error"]);
    expect(await typeOf(await post(`${PATH}/count_tokens`, "{"))).toEqual([400, "invalid_request_error"]);
    expect(await typeOf(await get(PATH))).toEqual([405, "invalid_request_error"]);
    expect((await (await get("/v1/models/none/messages")).json()).type).toBeUndefined();
  });
});
