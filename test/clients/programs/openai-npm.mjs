// The openai package of npm.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France? Answer in one short sentence." }];
const tools = [
  {
    type: "function",
    function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
  },
];
const done = (what) => console.log(what);

const models = await client.models.list();
assert.deepEqual(
  models.data.map(({ id }) => id),
  ["tiny", "chat", "encoder"],
);
assert.equal((await client.models.retrieve("chat")).id, "chat");
done("models");

const whole = await client.chat.completions.create({
  model: "chat",
  messages,
  temperature: 0,
  max_completion_tokens: 24,
});
assert.match(whole.choices[0].message.content, /Paris/);
done("chat");

let text = "";
let usage;
const stream = await client.chat.completions.create({
  model: "chat",
  messages,
  temperature: 0,
  max_completion_tokens: 24,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta.content ?? "";
  usage ??= chunk.usage;
}
assert.equal(text, whole.choices[0].message.content);
assert.equal(usage.total_tokens, whole.usage.total_tokens);
done("chat, streamed");

// The helper that puts the chunks together must come to the same message.
const helped = await client.chat.completions
  .stream({ model: "chat", messages, temperature: 0, max_completion_tokens: 24 })
  .finalChatCompletion();
assert.equal(helped.choices[0].message.content, text);
done("chat, streamed by the helper");

const seeded = () =>
  client.chat.completions.create({ model: "tiny", messages, seed: 3, n: 2, max_tokens: 12, stop: ["zzz"] });
const [one, two] = [await seeded(), await seeded()];
assert.deepEqual(one.choices, two.choices);
assert.notEqual(one.choices[0].message.content, one.choices[1].message.content);
done("seed, n, stop");

const scored = await client.chat.completions.create({
  model: "tiny",
  messages,
  logprobs: true,
  top_logprobs: 2,
  max_tokens: 3,
  presence_penalty: 1,
  frequency_penalty: 1,
  logit_bias: { 5: -100 },
});
assert.equal(scored.choices[0].logprobs.content.length, 3);
assert.equal(scored.choices[0].logprobs.content[0].top_logprobs.length, 2);
done("logprobs, penalties, bias");

const scripted = new OpenAI({ maxRetries: 0, baseURL: process.env.SCRIPTED_BASE_URL });
const weather = { model: "tiny", messages: [{ role: "user", content: "Weather in Paris?" }], tools };
const called = await scripted.chat.completions.create(weather);
assert.equal(called.choices[0].finish_reason, "tool_calls");
assert.deepEqual(JSON.parse(called.choices[0].message.tool_calls[0].function.arguments), { city: "Paris" });
const streamed = await scripted.chat.completions.stream(weather).finalChatCompletion();
assert.equal(streamed.choices[0].message.content, "I look.");
assert.equal(streamed.choices[0].message.tool_calls[0].function.arguments, '{"city":"Paris"}');
const runner = scripted.chat.completions.runTools({
  ...weather,
  tools: [
    {
      type: "function",
      function: {
        name: "weather",
        description: "",
        parameters: {},
        parse: JSON.parse,
        function: ({ city }) => `${city} is wet`,
      },
    },
  ],
});
assert.equal(await runner.finalContent(), "It rains: Paris is wet");
const item = (
  await scripted.responses.create({
    model: "tiny",
    input: "Weather?",
    tools: [{ type: "function", name: "weather", parameters: {}, strict: false }],
  })
).output[1];
assert.deepEqual([item.type, item.name, item.arguments], ["function_call", "weather", '{"city":"Paris"}']);
const strict = await scripted.chat.completions.parse({
  ...weather,
  tools: [zodFunction({ name: "weather", parameters: z.object({ city: z.string() }) })],
});
assert.deepEqual(strict.choices[0].message.tool_calls[0].function.parsed_arguments, { city: "Paris" });
done("tools: whole, streamed, run by the helper, in responses, strict");

// Of bounded length: a small model may go on in a text until its tokens are used up.
const Person = z.object({
  name: z.enum(["Ann", "Bob"]),
  age: z.number().int().min(0).max(150),
  tags: z.array(z.boolean()).max(2),
});
const about = [{ role: "user", content: "Ann is 30 years old. Describe her." }];
const asked = { model: "chat", messages: about, temperature: 0, max_completion_tokens: 120 };
const parsed = await client.chat.completions.parse({ ...asked, response_format: zodResponseFormat(Person, "person") });
assert.equal(Person.parse(parsed.choices[0].message.parsed).age, 30);
const whileStreamed = await client.chat.completions
  .stream({ ...asked, response_format: zodResponseFormat(Person, "person") })
  .finalChatCompletion();
assert.deepEqual(whileStreamed.choices[0].message.parsed, parsed.choices[0].message.parsed);
const summed = await client.chat.completions.create({
  ...asked,
  structured_outputs: { grammar: 'root ::= "Ann: " [1-9] [0-9] years?\nyears ::= " years"' },
});
assert.match(summed.choices[0].message.content, /^Ann: [1-9]\d( years)?$/);
const object = await client.chat.completions.create({ ...asked, response_format: { type: "json_object" } });
assert.ok(
  object.choices[0].finish_reason === "length" || typeof JSON.parse(object.choices[0].message.content) === "object",
);
const forced = await client.chat.completions.parse({
  ...asked,
  tools: [zodFunction({ name: "save", parameters: Person })],
  tool_choice: { type: "function", function: { name: "save" } },
});
assert.ok(Person.parse(forced.choices[0].message.tool_calls[0].function.parsed_arguments));
const typed = await client.responses.parse({
  model: "chat",
  input: about,
  temperature: 0,
  max_output_tokens: 120,
  text: { format: zodTextFormat(Person, "person") },
});
assert.ok(Person.parse(typed.output_parsed));
done("structured output: parsed, streamed, JSON mode, a forced function, in responses");

const completion = await client.completions.create({
  model: "tiny",
  prompt: "The river",
  max_tokens: 5,
  temperature: 0,
});
assert.ok(completion.choices[0].text.length > 0);
done("completions");

const texts = ["A cat sits on the mat.", "A kitten is on a rug.", "Shares fell on Monday."];
// The package asks for base64 unless it is told otherwise.
const embedded = await client.embeddings.create({ model: "encoder", input: texts });
const [cat, kitten, shares] = embedded.data.map(({ embedding }) => embedding);
const cosine = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
assert.equal(cat.length, 384);
assert.ok(Math.abs(cosine(cat, cat) - 1) < 1e-6);
assert.ok(cosine(cat, kitten) > 0.5 && cosine(cat, shares) < 0.2);
assert.equal(embedded.usage.prompt_tokens, embedded.usage.total_tokens);
const [floats] = (
  await client.embeddings.create({ model: "encoder", input: texts[0], encoding_format: "float", dimensions: 64 })
).data;
const head = cat.slice(0, 64);
assert.equal(floats.embedding.length, 64);
assert.ok(cosine(floats.embedding, head) / Math.hypot(...head) > 0.9999);
await assert.rejects(
  client.embeddings.create({ model: "encoder", input: "river ".repeat(300) }),
  (error) => error instanceof OpenAI.BadRequestError && error.code === "context_length_exceeded",
);
done("embeddings, base64 and floats");

const response = await client.responses.create({
  model: "chat",
  input: "What is the capital of France? Answer in one short sentence.",
  temperature: 0,
  max_output_tokens: 24,
});
assert.match(response.output_text, /Paris/);
let deltas = "";
for await (const event of await client.responses.create({
  model: "chat",
  input: "What is the capital of France? Answer in one short sentence.",
  temperature: 0,
  max_output_tokens: 24,
  stream: true,
}))
  if (event.type === "response.output_text.delta") deltas += event.delta;
assert.equal(deltas, response.output_text);
const final = await client.responses.stream({ model: "chat", input: "Hi", max_output_tokens: 4 }).finalResponse();
assert.equal(final.status, "incomplete");
done("responses");

await assert.rejects(
  client.chat.completions.create({ model: "none", messages }),
  (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found",
);
await assert.rejects(
  client.chat.completions.create({
    model: "tiny",
    messages: [{ role: "user", content: "river ".repeat(500) }],
    stream: true,
  }),
  (error) =>
    error instanceof OpenAI.BadRequestError && error.code === "context_length_exceeded" && error.param === "messages",
);
await assert.rejects(
  client.chat.completions.create({
    model: "chat",
    messages,
    response_format: { type: "json_schema", json_schema: { name: "n", schema: { type: "nope" } } },
  }),
  (error) => error.status === 400 && error.param === "response_format",
);
await assert.rejects(client.embeddings.create({ model: "chat", input: "a" }), (error) => error.status === 501);
await assert.rejects(client.chat.completions.create({ model: "encoder", messages }), (error) => error.status === 501);
done("errors");

const long = await client.chat.completions.create({
  model: "chat",
  messages: [{ role: "user", content: "Write a long story." }],
  stream: true,
});
let chunks = 0;
for await (const _ of long) if (++chunks === 5) break;
assert.equal(long.controller.signal.aborted, true);
done("cancel");
