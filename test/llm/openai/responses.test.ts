import { afterEach, expect, test } from "vitest";
import { runtime } from "../../../serve/runtime.ts";
import { start } from "./bench.ts";

afterEach(() => void delete runtime().engine);

const PATH = "/v1/responses";
const tools = [{ type: "function", name: "weather", parameters: { type: "object" } }];

interface Event {
  readonly type: string;
  readonly item: { readonly id: string };
  readonly response: { readonly output: readonly { readonly id: string }[] };
}

/** Events by name with their data; the name must be the data's type, and the numbers must count up. */
async function seriesOf(answer: Response): Promise<Event[]> {
  const blocks = (await answer.text()).split("\n\n").filter((block) => block !== "");
  return blocks.map((block, at) => {
    const [, type, json] = /^event: (\S+)\ndata: (.*)$/.exec(block)!;
    const data = JSON.parse(json!);
    expect([data.type, data.sequence_number]).toEqual([type, at]);
    return data;
  });
}

test("one object, with the counts and what was asked for", async () => {
  const { post, requests } = await start(() => ["Hel", "lo"]);
  const answer = await post(PATH, { input: "Hi", instructions: "Be kind.", temperature: 0.2, max_output_tokens: 9 });
  expect(await answer.json()).toMatchObject({
    id: expect.stringMatching(/^resp_/),
    object: "response",
    status: "completed",
    error: null,
    instructions: "Be kind.",
    temperature: 0.2,
    output: [
      {
        id: expect.stringMatching(/^msg_/),
        type: "message",
        role: "assistant",
        status: "completed",
        content: [{ type: "output_text", text: "Hello", annotations: [] }],
      },
    ],
    usage: { input_tokens: 5, output_tokens: 2, total_tokens: 7 },
  });
  expect(requests[0]).toMatchObject({
    messages: [
      { role: "system", content: "Be kind." },
      { role: "user", content: "Hi" },
    ],
    maxTokens: 9,
  });
  const cut = await (await post(PATH, { input: "Hi", max_output_tokens: 1 })).json();
  expect(cut).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
});

test("items: messages, calls and their results become one conversation", async () => {
  const { post, requests } = await start(() => ["ok"]);
  await post(PATH, {
    input: [
      { role: "user", content: [{ type: "input_text", text: "Weather?" }] },
      { type: "reasoning", summary: [] },
      { type: "function_call", call_id: "c1", name: "weather", arguments: '{"city":"Paris"}' },
      { type: "function_call", call_id: "c2", name: "weather", arguments: '{"city":"Rome"}' },
      { type: "function_call_output", call_id: "c1", output: "rain" },
    ],
  });
  expect(requests[0]).toMatchObject({
    messages: [
      { role: "user", content: "Weather?" },
      { role: "assistant", content: expect.stringMatching(/Paris[^]*Rome/) },
      { role: "user", content: "<tool_response>\nrain\n</tool_response>" },
    ],
  });
});

test("a stream builds up text, then a call, and ends with the whole", async () => {
  const { post } = await start(() => ["So", ":", '<tool_call>{"name":"weather","arguments":{"a":1}}</tool_call>']);
  const series = await seriesOf(await post(PATH, { input: "Hi", tools, stream: true }));
  expect(series.map(({ type }) => type.replace("response.", ""))).toEqual([
    "created",
    "in_progress",
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
    "output_item.added",
    "function_call_arguments.delta",
    "function_call_arguments.done",
    "output_item.done",
    "completed",
  ]);
  expect(series[4]).toMatchObject({ delta: "So", output_index: 0, content_index: 0 });
  expect(series[6]).toMatchObject({ text: "So:" });
  const { response } = series.at(-1)!;
  expect(response).toMatchObject({
    status: "completed",
    output: [
      { type: "message", content: [{ text: "So:" }] },
      { type: "function_call", name: "weather", arguments: '{"a":1}', status: "completed" },
    ],
    usage: { output_tokens: 3 },
  });
  expect(response.output[0]!.id).toBe(series[2]!.item.id);
});

test("logprobs, whole and streamed, by 'top_logprobs' or 'include'; none of a call's tokens", async () => {
  const { post, requests } = await start(() => ["So", ":", '<tool_call>{"name":"weather"}</tool_call>']);
  const ask = { input: "Hi", tools, top_logprobs: 1, max_tool_calls: 3, truncation: "disabled", store: false };
  const whole = await (await post(PATH, ask)).json();
  expect(whole).toMatchObject({ top_logprobs: 1, max_tool_calls: 3, truncation: "disabled" });
  const score = (token: string) => ({ token, logprob: -0.5, bytes: [...Buffer.from(token)] });
  const listed = (token: string) => ({ ...score(token), top_logprobs: [score(token)] });
  expect(whole.output[0].content[0]).toEqual({
    type: "output_text",
    text: "So:",
    annotations: [],
    logprobs: [listed("So"), listed(":")],
  });
  const series = await seriesOf(await post(PATH, { ...ask, stream: true }));
  const deltas = series.filter(({ type }) => type === "response.output_text.delta") as unknown as {
    readonly logprobs: readonly object[];
  }[];
  expect(deltas.flatMap(({ logprobs }) => logprobs)).toEqual([listed("So"), listed(":")]);
  expect(series.at(-1)!.response.output.map((item) => (item as { content?: object }).content)).toEqual([
    whole.output[0].content,
    undefined,
  ]);
  await post(PATH, { input: "Hi", include: ["message.output_text.logprobs"] });
  await post(PATH, { input: "Hi", include: ["reasoning.encrypted_content"] });
  expect(requests.map(({ logprobs }) => logprobs)).toEqual([1, 1, 0, undefined]);
});

test("an engine that breaks in mid-stream: an error, then the response as failed, without details", async () => {
  const { post } = await start(() => ["So", "†"]);
  const series = await seriesOf(await post(PATH, { input: "Hi", stream: true }));
  const message = expect.stringMatching(/^Internal Server Error \(Request ID: local-\d+\)$/);
  expect(series.slice(-2)).toMatchObject([
    { type: "error", code: "internal_error", message, param: null },
    {
      type: "response.failed",
      response: {
        status: "failed",
        output: [{ status: "incomplete", content: [{ text: "So" }] }],
        error: { code: "server_error", message },
      },
    },
  ]);
});

test("whole with a call; an empty answer is an empty message", async () => {
  const { post } = await start((_, index) => (index === 0 ? ['<tool_call>{"name":"weather"}</tool_call>'] : []));
  expect((await (await post(PATH, { input: "Hi", tools })).json()).output).toMatchObject([
    { type: "function_call", name: "weather", arguments: "{}" },
  ]);
  expect((await (await post(PATH, { input: "Hi" })).json()).output).toMatchObject([{ content: [{ text: "" }] }]);
});

test.each([
  [{}, "input"],
  [{ input: "a", previous_response_id: "resp_1" }, "previous_response_id"],
  [{ input: "a", background: true }, "background"],
  [{ input: "a", store: true }, "store"],
  [{ input: "a", truncation: "auto" }, "truncation"],
  [{ input: "a", service_tier: "flex" }, "service_tier"],
  [{ input: "a", top_logprobs: 21 }, "top_logprobs"],
  [{ input: "a", max_tool_calls: 0 }, "max_tool_calls"],
  [{ input: "a", text: { format: { type: "xml" } } }, "text.format.type"],
  [{ input: "a", text: { format: { type: "json_schema", name: "x" } } }, "text.format.schema"],
  [{ input: "a", tools: [{ type: "web_search" }] }, "tools[0]"],
  [{ input: "a", tools: [{ type: "function", name: "a b" }] }, "tools[0]"],
  [{ input: "a", tool_choice: "required" }, "tool_choice"],
  [{ input: [{ type: "function_call_output", output: "x" }] }, "input[0].call_id"],
  [{ input: [{ role: "user", content: [{ type: "input_image" }] }] }, "input[0].content[0]"],
  [{ input: [{ type: "computer_call" }] }, "input[0].type"],
  [{ input: [{ type: "item_reference", id: "msg_1" }] }, "input[0].type"],
])("%j names %s", async (body, param) => {
  const { post } = await start(() => []);
  const answer = await post(PATH, body);
  expect([answer.status, (await answer.json()).error.param]).toEqual([400, param]);
});
