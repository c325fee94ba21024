// LangChain.js.
import assert from "node:assert/strict";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { AIMessage, HumanMessage, ToolMessage } from "@langchain/core/messages";

const model = new ChatOpenAI({
  model: "chat",
  temperature: 0,
  maxTokens: 24,
  maxRetries: 0,
  configuration: { baseURL: process.env.OPENAI_BASE_URL },
});

const answer = await model.invoke("What is the capital of France? Answer in one short sentence.");
assert.match(answer.content, /Paris/);
assert.ok(answer.usage_metadata.total_tokens > 0);
console.log("invoke");

let text = "";
for await (const chunk of await model.stream("What is the capital of France? Answer in one short sentence."))
  text += chunk.content;
assert.equal(text, answer.content);
console.log("stream");

const weather = {
  type: "function",
  function: {
    name: "weather",
    description: "Weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } } },
  },
};
const scripted = new ChatOpenAI({
  model: "tiny",
  maxRetries: 0,
  configuration: { baseURL: process.env.SCRIPTED_BASE_URL },
}).bindTools([weather]);
const called = await scripted.invoke("Weather in Paris?");
assert.deepEqual([called.tool_calls[0].name, called.tool_calls[0].args], ["weather", { city: "Paris" }]);
let whole;
for await (const chunk of await scripted.stream("Weather in Paris?")) whole = whole?.concat(chunk) ?? chunk;
assert.deepEqual(whole.tool_calls[0].args, { city: "Paris" });
console.log("tools, whole and streamed");

const schema = {
  title: "person",
  type: "object",
  properties: { name: { enum: ["Ann", "Bob"] }, age: { type: "integer", minimum: 0, maximum: 150 } },
  required: ["name", "age"],
  additionalProperties: false,
};
const roomy = new ChatOpenAI({
  model: "chat",
  temperature: 0,
  maxTokens: 120,
  maxRetries: 0,
  configuration: { baseURL: process.env.OPENAI_BASE_URL },
});
for (const method of ["jsonSchema", "functionCalling"]) {
  const person = await roomy.withStructuredOutput(schema, { method }).invoke("Ann is 30 years old. Describe her.");
  assert.deepEqual([typeof person.name, typeof person.age], ["string", "number"], method);
}
console.log("structured output: by schema and by function");

const history = [
  new HumanMessage("Weather in Paris?"),
  new AIMessage({ content: "", tool_calls: [{ id: "c1", name: "weather", args: { city: "Paris" } }] }),
  new ToolMessage({ content: "Rain.", tool_call_id: "c1" }),
];
assert.equal(typeof (await model.invoke(history)).content, "string");
console.log("a history with a call");

const embedder = new OpenAIEmbeddings({
  model: "encoder",
  maxRetries: 0,
  configuration: { baseURL: process.env.OPENAI_BASE_URL },
});
const [cat, kitten, shares] = await embedder.embedDocuments([
  "A cat sits on the mat.",
  "A kitten is on a rug.",
  "Shares fell on Monday.",
]);
const cosine = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
assert.ok(cosine(cat, kitten) > 0.5 && cosine(cat, shares) < 0.2);
console.log("embeddings");
