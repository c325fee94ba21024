import { afterEach, describe, expect, test } from "vitest";
import { runtime } from "../../../serve/runtime.ts";
import { eventsOf, start } from "./bench.ts";

afterEach(() => void delete runtime().engine);

const PATH = "/v1/chat/completions";
const hi = { model: "tiny", messages: [{ role: "user", content: "Hi" }] };

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
    const begins = ({ grammar }: (typeof requests)[number]): readonly string[] =>
      grammar?.type === "tags_with_separator" ? grammar.tags.map(({ begin }) => begin) : [];
    expect(requests[0]!.grammar).toBeUndefined();
    expect(begins(requests[1]!)).toEqual(['<tool_call>\n{"name": "weather", "arguments": ']);
    expect(requests[1]!.grammar).toMatchObject({
      tags: [{ content: { json_schema: tools[0]!.function.parameters }, end: "}\n</tool_call>" }],
      at_least_one: true,
      stop_after_first: true,
    });
    expect((await forced.json()).choices[0].finish_reason).toBe("stop");
    await post(PATH, { ...hi, tools, tool_choice: "required" });
    await post(PATH, {
      ...hi,
      tools: [...tools, { type: "function", function: { name: "f" } }],
      tool_choice: "required",
    });
    expect(requests[2]!.grammar).toMatchObject({ stop_after_first: false });
    expect(begins(requests[3]!)).toEqual([
      '<tool_call>\n{"name": "weather", "arguments": ',
      '<tool_call>\n{"name": "f", "arguments": ',
    ]);
  });

  test("a forced call is the whole answer", async () => {
    const { post } = await start(
      () => ['<tool_call>\n{"name": "weather", "arguments": {"city":"Rome"', "}}", "\n</tool_call> and so on"],
      { template: QWEN },
    );
    const choice = { type: "function", function: { name: "weather" } };
    const { choices } = await (await post(PATH, { ...hi, tools, tool_choice: choice })).json();
    expect(choices[0]).toMatchObject({
      finish_reason: "stop",
      message: { content: null, tool_calls: [{ function: { name: "weather", arguments: '{"city":"Rome"}' } }] },
    });
  });

  test.each<[string, (strict: boolean | null, more?: object) => [string, object]]>([
    [
      "a chat",
      (strict, more) => [
        PATH,
        { ...hi, tools: [...tools, { type: "function", function: { name: "f", strict } }], ...more },
      ],
    ],
    [
      "a response",
      (strict, more) => [
        "/v1/responses",
        {
          input: "Hi",
          tools: [
            { type: "function", name: "weather" },
            { type: "function", name: "f", strict },
          ],
          ...more,
        },
      ],
    ],
  ])("%s holds calls to a strict function's schema from where they begin, and others' to an object", async (_, ask) => {
    const { post, requests } = await start(() => ["ok"], { template: QWEN });
    expect((await post(...ask(true))).status).toBe(200);
    expect(requests[0]!.grammar).toMatchObject({
      type: "triggered_tags",
      triggers: ["<tool_call>"],
      tags: [
        { content: { json_schema: { type: "object" } } },
        {
          begin: '<tool_call>\n{"name": "f", "arguments": ',
          content: { json_schema: { additionalProperties: false } },
        },
      ],
      stop_after_first: false,
    });
    await post(...ask(true, { parallel_tool_calls: false }));
    expect(requests[1]!.grammar).toMatchObject({ stop_after_first: true });
    for (const [strict, more] of [[false], [null], [true, { tool_choice: "none" }]] as const) {
      await post(...ask(strict, more));
      expect(requests.at(-1)!.grammar).toBeUndefined();
    }
    expect((await post(...ask("yes" as never))).status).toBe(400);
  });

  test("streamed, a call has index, id and name, then its arguments", async () => {
    const { post } = await start(() => said, { template: QWEN });
    const events = await eventsOf(await post(PATH, { ...hi, tools, stream: true }));
    const choices = events
      .slice(0, -1)
      .map((data) => JSON.parse(data.replace(/call_[0-9a-z]{24}/, "call-ID")).choices[0]);
    expect(choices.map(({ delta }) => delta)).toEqual([
      { role: "assistant", content: null, refusal: null },
      { content: "I'll look." },
      { tool_calls: [{ index: 0, id: "call-ID", type: "function", function: { name: "weather", arguments: "" } }] },
      { tool_calls: [{ index: 0, function: { arguments: '{"city":"Paris"}' } }] },
      {},
    ]);
    expect(choices.at(-1).finish_reason).toBe("tool_calls");
  });

  test("'allowed_tools' leaves the others out, of the prompt and of what may be called", async () => {
    const other = { type: "function", function: { name: "other" } };
    const allowed = { mode: "required", tools: [{ type: "function", function: { name: "other" } }] };
    const { post, requests } = await start(() => ["x"]);
    const choice = (given: object) => ({ type: "allowed_tools", allowed_tools: given });
    await post(PATH, { ...hi, tools: [...tools, other], tool_choice: choice(allowed) });
    await post(PATH, { ...hi, tools: [...tools, other], tool_choice: choice({ ...allowed, mode: "auto" }) });
    const [forced, auto] = requests.map((request) => JSON.stringify(request));
    expect([forced, auto].map((text) => /"?other/.test(text!) && !text!.includes("weather"))).toEqual([true, true]);
    expect(requests.map(({ grammar }) => grammar !== undefined)).toEqual([true, false]);
    const responses = await post("/v1/responses", {
      input: "Hi",
      tools: [
        { type: "function", name: "weather" },
        { type: "function", name: "other" },
      ],
      tool_choice: { type: "allowed_tools", mode: "required", tools: [{ type: "function", name: "other" }] },
    });
    expect(responses.status).toBe(200);
    expect(JSON.stringify(requests[2])).not.toContain("weather");
    const unknown = await post(PATH, { ...hi, tools, tool_choice: choice(allowed) });
    expect([unknown.status, (await unknown.json()).error.param]).toEqual([400, "tool_choice"]);
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
