// Vercel's AI SDK.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { cosineSimilarity, embedMany, generateText, Output, isStepCount, streamText, jsonSchema, tool } from "ai";

const provider = createOpenAICompatible({ name: "skein", baseURL: process.env.OPENAI_BASE_URL, includeUsage: true });
const asked = {
  model: provider("chat"),
  prompt: "What is the capital of France? Answer in one short sentence.",
  temperature: 0,
  maxOutputTokens: 24,
  maxRetries: 0,
};

const { text, usage, finishReason } = await generateText(asked);
assert.match(text, /Paris/);
assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
console.log(`generateText (${finishReason})`);

const stream = streamText(asked);
let pieces = "";
for await (const piece of stream.textStream) pieces += piece;
assert.equal(pieces.trim(), text.trim());
assert.deepEqual((await stream.usage).outputTokens, usage.outputTokens);
console.log("streamText");

const structured = createOpenAICompatible({
  name: "skein",
  baseURL: process.env.OPENAI_BASE_URL,
  supportsStructuredOutputs: true,
});
const personSchema = jsonSchema({
  type: "object",
  properties: { name: { enum: ["Ann", "Bob"] }, age: { type: "integer", minimum: 0, maximum: 150 } },
  required: ["name", "age"],
  additionalProperties: false,
});
const { output } = await generateText({
  model: structured("chat"),
  prompt: "Ann is 30 years old. Describe her.",
  temperature: 0,
  maxOutputTokens: 120,
  maxRetries: 0,
  output: Output.object({ schema: personSchema }),
});
assert.equal(output.age, 30);
console.log("Output.object");

const scripted = createOpenAICompatible({ name: "scripted", baseURL: process.env.SCRIPTED_BASE_URL });
const tools = {
  weather: tool({
    description: "Weather of a city",
    inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } } }),
    execute: ({ city }) => `${city} is wet`,
  }),
};
const told = { model: scripted("tiny"), prompt: "Weather in Paris?", tools, stopWhen: isStepCount(3), maxRetries: 0 };
assert.match((await generateText(told)).text, /It rains: .*Paris is wet/);
const steps = streamText(told);
let calls = 0;
for await (const part of steps.fullStream) if (part.type === "tool-call") calls++;
assert.equal(calls, 1);
assert.match(await steps.text, /Paris is wet/);
console.log("tools, whole and streamed, over several steps");

const { embeddings } = await embedMany({
  model: provider.embeddingModel("encoder"),
  values: ["A cat sits on the mat.", "A kitten is on a rug.", "Shares fell on Monday."],
  maxRetries: 0,
});
assert.ok(cosineSimilarity(embeddings[0], embeddings[1]) > 0.5);
assert.ok(cosineSimilarity(embeddings[0], embeddings[2]) < 0.2);
console.log("embedMany");

const abort = new AbortController();
const left = streamText({
  ...asked,
  prompt: "Write a long story.",
  maxOutputTokens: 1500,
  abortSignal: abort.signal,
  onError: () => {},
});
let seen = 0;
for await (const _ of left.textStream) if (++seen === 3) abort.abort();
assert.ok(seen >= 3);
console.log("cancel");
