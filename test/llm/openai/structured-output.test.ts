/** Fields that say what an answer must look like, and what becomes of them. */
import { afterEach, describe, expect, test } from "vitest";
import { GrammarError } from "../../../engine/index.ts";
import { runtime } from "../../../serve/runtime.ts";
import { eventsOf, start } from "./bench.ts";

afterEach(() => void delete runtime().engine);

const CHAT = "/v1/chat/completions";
const hi = { messages: [{ role: "user", content: "Hi" }] };
const schema = { type: "object", properties: { a: { type: "integer" } }, required: ["a"], additionalProperties: false };
const bySchema = { type: "json_schema", json_schema: schema };
const anyObject = { type: "json_schema", json_schema: { type: "object" } };
const grammar = { type: "grammar", grammar: 'root ::= "a"' };
const triggered = {
  type: "triggered_tags",
  triggers: ["<a"],
  tags: [{ type: "tag", begin: "<a>", content: bySchema, end: "</a>" }],
};
const said = ['{"a": ', "1}"];

test.each<[string, string, object, object | undefined]>([
  ["text", CHAT, { ...hi, response_format: { type: "text" } }, undefined],
  ["json_object", CHAT, { ...hi, response_format: { type: "json_object" } }, anyObject],
  [
    "json_schema",
    CHAT,
    { ...hi, response_format: { type: "json_schema", json_schema: { name: "n", strict: true, schema } } },
    bySchema,
  ],
  [
    "json_schema without a schema",
    CHAT,
    { ...hi, response_format: { type: "json_schema", json_schema: { name: "n" } } },
    anyObject,
  ],
  ["structured_outputs", CHAT, { ...hi, structured_outputs: { regex: "a+" } }, { type: "regex", pattern: "a+" }],
  ["a grammar", CHAT, { ...hi, structured_outputs: { grammar: 'root ::= "a"' } }, grammar],
  ["guided_grammar", "/v1/completions", { prompt: "a", guided_grammar: 'root ::= "a"' }, grammar],
  ["structured_outputs.json_object", CHAT, { ...hi, structured_outputs: { json_object: true } }, anyObject],
  ["a structural tag", CHAT, { ...hi, response_format: { type: "structural_tag", format: triggered } }, triggered],
  [
    "a structural tag as it was",
    CHAT,
    {
      ...hi,
      response_format: {
        type: "structural_tag",
        structures: [{ begin: "<a>", schema, end: "</a>" }],
        triggers: ["<a"],
      },
    },
    triggered,
  ],
  [
    "a structural tag as text",
    "/v1/completions",
    {
      prompt: "a",
      structured_outputs: { structural_tag: JSON.stringify({ type: "structural_tag", format: triggered }) },
    },
    triggered,
  ],
  ["guided_json", CHAT, { ...hi, guided_json: schema }, bySchema],
  ["guided_regex", "/v1/completions", { prompt: "a", guided_regex: "a+" }, { type: "regex", pattern: "a+" }],
  [
    "guided_choice",
    "/v1/completions",
    { prompt: "a", guided_choice: ["x", "y"] },
    { type: "or", elements: ["x", "y"].map((value) => ({ type: "const_string", value })) },
  ],
  ["a completion's", "/v1/completions", { prompt: "a", response_format: { type: "json_object" } }, anyObject],
  ["a response's json_object", "/v1/responses", { input: "a", text: { format: { type: "json_object" } } }, anyObject],
  [
    "a response's json_schema",
    "/v1/responses",
    { input: "a", text: { format: { type: "json_schema", name: "n", strict: true, schema } } },
    bySchema,
  ],
])("%s reaches the engine", async (_, path, body, grammar) => {
  const { post, requests } = await start(() => said);
  const answer = await post(path, { n: path === "/v1/responses" ? undefined : 2, ...body });
  expect(answer.status).toBe(200);
  expect(requests.map((request) => request.grammar)).toEqual(path === "/v1/responses" ? [grammar] : [grammar, grammar]);
  expect(JSON.stringify(await answer.json())).toContain(JSON.stringify('{"a": 1}'));
});

test.each<[string, object, string]>([
  [CHAT, { ...hi, response_format: { type: "xml" } }, "response_format.type"],
  [CHAT, { ...hi, response_format: { type: "json_schema" } }, "response_format.json_schema"],
  [
    CHAT,
    { ...hi, response_format: { type: "json_schema", json_schema: { name: "a b" } } },
    "response_format.json_schema.name",
  ],
  [CHAT, { ...hi, guided_grammar: 7 }, "guided_grammar"],
  [CHAT, { ...hi, guided_whitespace_pattern: " " }, "guided_whitespace_pattern"],
  [CHAT, { ...hi, structured_outputs: { structural_tag: "{}" } }, "structured_outputs.structural_tag"],
  [CHAT, { ...hi, structured_outputs: { structural_tag: "{" } }, "structured_outputs.structural_tag"],
  [CHAT, { ...hi, response_format: { type: "structural_tag", structures: [] } }, "response_format"],
  [CHAT, { ...hi, structured_outputs: { grammar: "a", regex: "a" } }, "structured_outputs"],
  [CHAT, { ...hi, response_format: { type: "json_object" }, guided_regex: "a" }, "guided_regex"],
  [CHAT, { ...hi, guided_choice: [] }, "guided_choice"],
])("%s %j is a 400 that names %s", async (path, body, param) => {
  const { post, requests } = await start(() => said);
  const answer = await post(path, body);
  expect([answer.status, (await answer.json()).error.param, requests.length]).toEqual([400, param, 0]);
});

describe("what the engine can't compile", () => {
  const tools = [{ type: "function", function: { name: "f", parameters: { type: "nope" } } }];
  test.each<[string, object, string]>([
    [CHAT, { ...hi, response_format: { type: "json_object" } }, "response_format"],
    [CHAT, { ...hi, structured_outputs: { regex: "(?=a)" } }, "structured_outputs"],
    [CHAT, { ...hi, tools, tool_choice: "required" }, "tools"],
    ["/v1/responses", { input: "a", text: { format: { type: "json_object" } } }, "text.format"],
  ])("%s is a 400 before a stream begins: %j names %s", async (path, body, param) => {
    const { post } = await start(() => new GrammarError('Unsupported type "nope"'));
    for (const stream of [false, true]) {
      const answer = await post(path, { ...body, stream });
      expect([answer.status, (await answer.json()).error]).toEqual([
        400,
        {
          message: `Invalid '${param}': Unsupported type "nope".`,
          type: "invalid_request_error",
          param,
          code: "invalid_value",
        },
      ]);
    }
  });
});

test("a response repeats its format", async () => {
  const { post } = await start(() => said);
  const format = { type: "json_schema", name: "n", schema };
  const { text } = await (await post("/v1/responses", { input: "a", text: { format } })).json();
  expect(text).toEqual({ format });
});

test("with tools that may be called, the answer is a call or fits the format", async () => {
  const { post, requests } = await start(() => said);
  const tools = [{ type: "function", function: { name: "f" } }];
  await post(CHAT, { ...hi, tools, response_format: { type: "json_object" } });
  expect(requests[0]!.grammar).toMatchObject({
    type: "or",
    elements: [{ type: "tags_with_separator", tags: [{ content: { json_schema: { properties: {} } } }] }, anyObject],
  });
  await post(CHAT, { ...hi, tools, response_format: { type: "json_object" }, tool_choice: "none" });
  expect(requests[1]!.grammar).toEqual(anyObject);
  await post(CHAT, { ...hi, tools, response_format: { type: "json_object" }, tool_choice: "required" });
  expect(requests[2]!.grammar).toMatchObject({ type: "tags_with_separator" });
});

test("streams pieces of it as of any text", async () => {
  const { post } = await start(() => said);
  const events = await eventsOf(await post(CHAT, { ...hi, response_format: { type: "json_object" }, stream: true }));
  const texts = events.slice(0, -1).map((data) => JSON.parse(data).choices[0].delta.content ?? "");
  expect(texts.join("")).toBe('{"a": 1}');
});
