import { open } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readTokenizerMetadata } from "../../../engine/gguf/config.ts";
import { readGgufHeader } from "../../../engine/gguf/header.ts";
import { sourceOfFile } from "../../../engine/node/file-source.ts";
import { Detokenizer } from "../../../engine/tokenizer/detokenizer.ts";
import { Tokenizer } from "../../../engine/tokenizer/tokenizer.ts";
import golden from "../../fixtures/smollm2-greedy.json" with { type: "json" };
import { defaultModelPath } from "../../support/default-model.ts";

// The real model's tokenizer against llama.cpp's ids (see the note in the fixture).
let tokenizer: Tokenizer;
let file: Awaited<ReturnType<typeof open>>;
beforeAll(async () => {
  file = await open(await defaultModelPath());
  tokenizer = Tokenizer.fromGguf(readTokenizerMetadata(await readGgufHeader(await sourceOfFile(file))));
}, 180_000);
afterAll(() => file.close());

test.each(golden.cases)("chat prompt and answer of: $prompt", ({ prompt, promptTokens, greedy, text }) => {
  expect(tokenizer.encodeChat([{ role: "user", content: prompt }])).toEqual(promptTokens);
  const detokenizer = new Detokenizer((token) => tokenizer.bytesOf(token));
  expect(greedy.map((token) => detokenizer.push(token)).join("") + detokenizer.finish()).toBe(text);
});

test("ends of answers are known, and text of many scripts survives", () => {
  expect(golden.cases.length).toBeGreaterThan(0);
  expect(tokenizer.isEnd(2)).toBe(true);
  expect(tokenizer.isEnd(1)).toBe(false);
  for (const text of ["  two  spaces\n\n\ttab", "naïve café, 世界 🙂 العربية", "it's 1234567 o'clock", ""]) {
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  }
});
