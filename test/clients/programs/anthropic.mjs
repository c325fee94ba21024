// Anthropic's package of npm.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const clientOf = (url) => new Anthropic({ baseURL: url.replace(/\/v1$/, ""), apiKey: "any", maxRetries: 0 });
const client = clientOf(process.env.OPENAI_BASE_URL);
const asked = {
  model: "chat",
  max_tokens: 24,
  temperature: 0,
  system: "You are helpful.",
  messages: [{ role: "user", content: "What is the capital of France? Answer in one short sentence." }],
};

const whole = await client.messages.create(asked);
assert.match(whole.content[0].text, /Paris/);
assert.ok(["end_turn", "max_tokens"].includes(whole.stop_reason));
const sum = ({ input_tokens, cache_read_input_tokens }) => input_tokens + cache_read_input_tokens;
assert.ok(whole.usage.output_tokens > 0);
console.log("messages");

// The helper that puts the events together must come to the same message.
const stream = client.messages.stream(asked);
let text = "";
stream.on("text", (piece) => (text += piece));
const final = await stream.finalMessage();
assert.deepEqual(final.content, whole.content);
assert.equal(text, whole.content[0].text);
assert.deepEqual([final.stop_reason, sum(final.usage)], [whole.stop_reason, sum(whole.usage)]);
const types = [];
for await (const { type } of await client.messages.create({ ...asked, stream: true })) types.push(type);
assert.deepEqual([types[0], types.at(-1)], ["message_start", "message_stop"]);
console.log("streamed, by the helper and event by event");

const { input_tokens: counted } = await client.messages.countTokens({
  model: "chat",
  system: asked.system,
  messages: asked.messages,
});
assert.equal(counted, sum(whole.usage));
console.log("count_tokens");

const word = whole.content[0].text.match(/\bFrance\b|\bis\b/)[0];
const stopped = await client.messages.create({ ...asked, stop_sequences: [word] });
assert.deepEqual([stopped.stop_reason, stopped.stop_sequence], ["stop_sequence", word]);
console.log("stop sequences");

const tools = [
  {
    name: "weather",
    input_schema: { type: "object", properties: { city: { enum: ["Paris", "Rome"] } }, required: ["city"] },
  },
];
const scripted = clientOf(process.env.SCRIPTED_BASE_URL);
const question = { model: "tiny", max_tokens: 99, messages: [{ role: "user", content: "Weather in Paris?" }], tools };
const called = await scripted.messages.create(question);
assert.equal(called.stop_reason, "tool_use");
const call = called.content.find(({ type }) => type === "tool_use");
assert.deepEqual([call.name, call.input], ["weather", { city: "Paris" }]);
const streamed = await scripted.messages.stream(question).finalMessage();
assert.deepEqual(
  streamed.content.map(({ type, input }) => [type, input]),
  [
    ["text", undefined],
    ["tool_use", { city: "Paris" }],
  ],
);
const told = await scripted.messages.create({
  ...question,
  messages: [
    ...question.messages,
    { role: "assistant", content: called.content },
    { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "all day" }] },
  ],
});
assert.equal(told.content[0].text, "It rains: all day");
const forced = await client.messages.create({
  ...asked,
  max_tokens: 99,
  tools,
  tool_choice: { type: "tool", name: "weather" },
});
assert.deepEqual([forced.content[0].type, forced.stop_reason], ["tool_use", "tool_use"]);
assert.ok(["Paris", "Rome"].includes(forced.content[0].input.city));
console.log("tools: whole, streamed, their results, a forced one of a real model");

const schema = {
  type: "object",
  properties: { name: { enum: ["Ann", "Bob"] }, age: { type: "integer", minimum: 0, maximum: 150 } },
  required: ["name", "age"],
  additionalProperties: false,
};
const person = await client.messages.create({
  ...asked,
  max_tokens: 60,
  messages: [{ role: "user", content: "Ann is 30 years old. Describe her." }],
  output_config: { format: { type: "json_schema", schema } },
});
assert.equal(JSON.parse(person.content[0].text).age, 30);
console.log("structured output");

await assert.rejects(
  client.messages.create({ ...asked, model: "none" }),
  (error) => error instanceof Anthropic.NotFoundError && error.error.error.type === "not_found_error",
);
await assert.rejects(
  client.messages.create({ ...asked, messages: [{ role: "user", content: "river ".repeat(3000) }], stream: true }),
  (error) => error instanceof Anthropic.BadRequestError && /tokens/.test(error.message),
);
await assert.rejects(client.messages.create({ ...asked, model: "encoder" }), (error) => error.status === 501);
console.log("errors");

const long = client.messages.stream({
  ...asked,
  max_tokens: 1500,
  messages: [{ role: "user", content: "Write a long story." }],
});
let seen = 0;
await assert.rejects(async () => {
  for await (const { type } of long) if (type === "content_block_delta" && ++seen === 5) long.abort();
}, Anthropic.APIUserAbortError);
assert.ok(seen >= 5);
assert.match((await client.messages.create(asked)).content[0].text, /Paris/);
console.log("cancel");
