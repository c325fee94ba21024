import fc from "../../support/fast-check.ts";
import { afterEach, describe, expect, test } from "vitest";
import { templateValues } from "../../../llm/openai/thinking.ts";
import { ThoughtParser } from "../../../llm/openai/thought-parser.ts";
import { runtime } from "../../../serve/runtime.ts";
import { CHATML, eventsOf, start, type Script } from "./bench.ts";

afterEach(() => void delete runtime().engine);

/** As Qwen 3 has it: thinks unless it is told not to. */
const QWEN = `${CHATML}{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}`;
/** As DeepSeek R1 has it: its prompt opens a thought. */
const ALWAYS = `${CHATML}{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}`;
const PATH = "/v1/chat/completions";
const hi = { messages: [{ role: "user", content: "Hi" }] };
const thinks: Script = () => ["<think>", "\nLet ", "me see", ".\n", "</think>", "\n\n", "It is", " 5."];
const THOUGHT = "Let me see.";

describe("a thought is told from the answer", () => {
  const read = (pieces: readonly string[], startsInside: boolean) => {
    const parser = new ThoughtParser(startsInside);
    const parts = [...pieces.map((piece) => parser.push(piece)), parser.finish()];
    return [parts.map(({ thought }) => thought).join(""), parts.map(({ text }) => text).join("")];
  };
  const cases: [string, boolean, string, string][] = [
    ["<think>\na\nb\n</think>\n\nc <think>d</think>", false, "a\nb", "c <think>d</think>"],
    ["a\n</think>\n\nb", true, "a", "b"],
    ["<think>a</think>b", true, "a", "b"],
    ["\n<think>a </thin> b", false, "a </thin> b", ""],
    ["no thought </think>", false, "", "no thought </think>"],
    ["<thin", false, "", "<thin"],
    ["  text", false, "", "  text"],
    ["<think></think>", false, "", ""],
    ["", true, "", ""],
  ];
  test.each(cases)("%j (inside: %s), wherever it is cut", (text, startsInside, thought, said) => {
    fc.assert(
      fc.property(fc.array(fc.nat(text.length)), (cuts) => {
        const places = [0, ...cuts.toSorted((a, b) => a - b), text.length];
        const pieces = places.slice(1).map((end, at) => text.slice(places[at], end));
        expect(read(pieces, startsInside)).toEqual([thought, said]);
      }),
    );
  });
});

describe("in chats", () => {
  test("it is the reasoning, whole and streamed, and counts as such", async () => {
    const { post } = await start(thinks, { template: QWEN });
    const whole = await (await post(PATH, hi)).json();
    expect(whole.choices[0].message).toMatchObject({
      content: "It is 5.",
      reasoning_content: THOUGHT,
      reasoning: THOUGHT,
    });
    expect(whole.usage).toMatchObject({ completion_tokens: 8, completion_tokens_details: { reasoning_tokens: 5 } });
    const events = (await eventsOf(await post(PATH, { ...hi, stream: true }))).slice(1, -2);
    const deltas = events.map((data) => JSON.parse(data).choices[0].delta);
    expect(deltas.map(({ reasoning_content: thought }) => thought ?? "").join("")).toBe(THOUGHT);
    expect(deltas.map(({ content }) => content ?? "").join("")).toBe("It is 5.");
    expect(deltas.findIndex(({ content }) => content)).toBeGreaterThan(deltas.findLastIndex((d) => d.reasoning));
  });

  test("cut off in thought, there is no content; logprobs are of the content's tokens; calls are found behind it", async () => {
    const { post } = await start(thinks, { template: QWEN });
    const cut = await (await post(PATH, { ...hi, max_tokens: 3 })).json();
    expect(cut.choices[0]).toMatchObject({
      finish_reason: "length",
      message: { content: null, reasoning_content: "Let me see" },
    });
    const scored = await (await post(PATH, { ...hi, logprobs: true })).json();
    expect(scored.choices[0].logprobs.content.map(({ token }: { token: string }) => token)).toEqual([
      "\n\n",
      "It is",
      " 5.",
    ]);
    const calls = await start(() => ["<think>", "call?", "</think>", '<tool_call>{"name":"f"}</tool_call>'], {
      template: QWEN,
    });
    const tools = [{ type: "function", function: { name: "f" } }];
    expect((await (await calls.post(PATH, { ...hi, tools })).json()).choices[0]).toMatchObject({
      finish_reason: "tool_calls",
      message: { content: null, reasoning: "call?", tool_calls: [{ function: { name: "f" } }] },
    });
  });

  test("other models' words are content as they are, and so are completions", async () => {
    const { post } = await start(thinks);
    expect((await (await post(PATH, hi)).json()).choices[0].message.content).toMatch(/^<think>\nLet/);
    const thinking = await start(thinks, { template: QWEN });
    expect((await (await thinking.post("/v1/completions", { prompt: "a" })).json()).choices[0].text).toMatch(
      /^<think>/,
    );
  });

  test("a prompt that opened the thought: what comes first is one, unless the answer is held to a form", async () => {
    const { post } = await start(() => ["hm", "\n</think>\n\n", "5"], { template: ALWAYS, prompt: "hi<think>\n" });
    expect((await (await post(PATH, hi)).json()).choices[0].message).toMatchObject({ content: "5", reasoning: "hm" });
    const formed = await start(() => ['{"a":1}'], { template: ALWAYS, prompt: "hi<think>\n" });
    const json = await (await formed.post(PATH, { ...hi, response_format: { type: "json_object" } })).json();
    expect(json.choices[0].message.content).toBe('{"a":1}');
  });

  test("the template is told what the request says of it; what was thought before goes back to it", async () => {
    const { post, tokenized, requests } = await start(thinks, { template: `${QWEN}{{ reasoning_effort }}` });
    for (const fields of [
      { chat_template_kwargs: { enable_thinking: false, unread: 1, tools: [] } },
      { reasoning_effort: "none", n: 2 },
      { reasoning_effort: "low" },
    ])
      expect((await post(PATH, { ...hi, ...fields })).status).toBe(200);
    await post("/tokenize", { ...hi, chat_template_kwargs: { enable_thinking: false } });
    const values = (input: object): unknown => "values" in input && input.values;
    expect(requests.map(values)).toEqual([
      { enable_thinking: false },
      { reasoning_effort: "none", enable_thinking: false },
      { reasoning_effort: "none", enable_thinking: false },
      { reasoning_effort: "low" },
    ]);
    expect(tokenized.map(values)).toEqual([{ enable_thinking: false }]);
    const before = { role: "assistant", content: "5", reasoning_content: THOUGHT };
    const again = await start(thinks, { template: `${QWEN}{% if tools %}{% endif %}` });
    await again.post(PATH, { messages: [...hi.messages, before, { role: "user", content: "Why?" }] });
    expect(again.requests[0]).toMatchObject({ messages: [{}, before, {}] });
  });

  test("a model that always thinks can't be kept from it, and a wrong field is named", async () => {
    expect(templateValues({ reasoning_effort: "none" }, CHATML)).toBeUndefined();
    const { post, requests } = await start(thinks, { template: ALWAYS });
    for (const [path, body, param] of [
      [PATH, { ...hi, reasoning_effort: "none" }, "reasoning_effort"],
      ["/v1/responses", { input: "a", reasoning: { effort: "none" } }, "reasoning.effort"],
      ["/v1/responses", { input: "a", reasoning: { summary: "detailed" } }, "reasoning.summary"],
      [PATH, { ...hi, reasoning_effort: "much" }, "reasoning_effort"],
      [PATH, { ...hi, chat_template_kwargs: "x" }, "chat_template_kwargs"],
    ] as const) {
      const answer = await post(path, body);
      expect([answer.status, (await answer.json()).error.param]).toEqual([400, param]);
    }
    expect(requests).toEqual([]);
  });
});

test("in responses it is an item of its own, whole and streamed", async () => {
  const { post } = await start(thinks, { template: QWEN });
  const ask = { input: "Hi", reasoning: { effort: "low" } };
  const whole = await (await post("/v1/responses", ask)).json();
  const output = [
    { type: "reasoning", summary: [], status: "completed", content: [{ type: "reasoning_text", text: THOUGHT }] },
    { type: "message", status: "completed", content: [{ type: "output_text", text: "It is 5." }] },
  ];
  expect(whole).toMatchObject({
    output,
    reasoning: { effort: "low" },
    usage: { output_tokens_details: { reasoning_tokens: 5 } },
  });
  const events = (await (await post("/v1/responses", { ...ask, stream: true })).text())
    .split("\n\n")
    .filter((block) => block !== "")
    .map((block) => JSON.parse(block.split("\ndata: ")[1]!));
  expect([...new Set(events.map(({ type }) => type.replace("response.", "")))]).toEqual([
    "created",
    "in_progress",
    "output_item.added",
    "content_part.added",
    "reasoning_text.delta",
    "reasoning_text.done",
    "content_part.done",
    "output_item.done",
    "output_text.delta",
    "output_text.done",
    "completed",
  ]);
  expect(events.map(({ sequence_number: number }) => number)).toEqual(events.map((_, at) => at));
  expect(events.at(-1).response).toMatchObject({ output });
  const cut = await (await post("/v1/responses", { ...ask, max_output_tokens: 3 })).json();
  expect(cut).toMatchObject({ status: "incomplete", output: [{ type: "reasoning", status: "incomplete" }] });
  expect(cut.output).toHaveLength(1);
});
