/** Llama's own way with functions, by a template of its family: prompts as the Transformers library writes them (see the script beside the fixture), and calls found in answers. */
import { expect, test } from "vitest";
import type { ChatMessage } from "../../../engine/index.ts";
import { Tokenizer } from "../../../engine/tokenizer/tokenizer.ts";
import { promptOf } from "../../../llm/openai/chat-prompt.ts";
import { type Part, toolCallParser } from "../../../llm/openai/tool-call-parser.ts";
import { type Tool, toolFormatOf } from "../../../llm/openai/tool-style.ts";
import fixture from "../../fixtures/llama-tools.json" with { type: "json" };

const { template } = fixture;
const tokenizer = Tokenizer.fromGguf({
  "tokenizer.ggml.model": "gpt2",
  "tokenizer.ggml.pre": "llama-bpe",
  "tokenizer.ggml.tokens": ["<|begin_of_text|>", "<|eot_id|>"],
  "tokenizer.ggml.token_type": [3, 3],
  "tokenizer.ggml.merges": [],
  "tokenizer.ggml.bos_token_id": 0,
  "tokenizer.ggml.eos_token_id": 1,
  "tokenizer.chat_template": template,
});
const HEADER = "<|start_header_id|>assistant<|end_header_id|>\n\n";

test.each(fixture.cases)("the prompt: $name", ({ messages, tools, values, text }) => {
  const format = toolFormatOf(template);
  expect(format).toEqual({ style: "llama", isNative: true });
  const choice = tools.length === 0 ? "none" : "auto";
  const { input } = promptOf(messages as ChatMessage[], tools as Tool[], choice, format);
  const given = input as { messages: ChatMessage[]; tools?: Tool[] };
  expect(tokenizer.renderChat(given.messages, { ...given, values })).toBe(text);
});

const CALLED = fixture.cases.flatMap(({ name, messages, tools, text }) => {
  const [call] = (messages as ChatMessage[]).flatMap(({ tool_calls }) => tool_calls ?? []);
  return call === undefined ? [] : [{ case: name, call: call as { function: Written }, tools, text }];
});
interface Written {
  readonly name: string;
  readonly arguments: object;
}

test.each(CALLED)("what the template writes as a call is found as one, wherever it is cut: $case", (given) => {
  const { name, arguments: values } = given.call.function;
  const written = given.text.split(HEADER)[1]!.split("<|eot_id|>")[0]!;
  const names = new Set(given.tools.map((tool) => tool.function.name));
  for (let cut = 0; cut <= written.length; cut++) {
    const parser = toolCallParser("llama", names);
    const parts: Part[] = [written.slice(0, cut), written.slice(cut)].flatMap((piece) => parser.push(piece));
    expect([...parts, ...parser.finish()]).toEqual([{ kind: "call", name, arguments: JSON.stringify(values) }]);
  }
});
