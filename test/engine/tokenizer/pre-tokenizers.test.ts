/** How GGUF's pre-tokenisers cut text, against Hugging Face's tokenizers with the models' published patterns (see the script beside the fixture). */
import { describe, expect, test } from "vitest";
import { describeRepositoryTokenizer } from "../../../engine/tokenizer/from-repository.ts";
import { Tokenizer } from "../../../engine/tokenizer/tokenizer.ts";
import fixture from "../../fixtures/pre-tokenizers.json" with { type: "json" };

const { tokens, merges } = fixture;
const ofGguf = (pre: string, more: Record<string, unknown> = {}): Tokenizer =>
  Tokenizer.fromGguf({
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": pre,
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.merges": merges,
    ...more,
  });

describe.each(fixture.kinds)("$pre", ({ pre, cases }) => {
  const tokenizer = ofGguf(pre);

  test.each(cases)("$text", ({ text, ids }) => {
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(pre === "qwen2" ? text.normalize("NFC") : text);
  });
});

test.each([
  ["llama3", "llama-bpe"],
  ["llama-v3", "llama-bpe"],
  ["falcon3", "llama-bpe"],
  ["pixtral", "llama-bpe"],
  ["smaug-bpe", "dbrx"],
  ["deepseek-r1-qwen", "qwen2"],
  ["minerva-7b", "smollm"],
  ["mellum", "gpt-2"],
  ["a.x-4.0", "gpt-2"],
  ["trillion", "gpt-2"],
])("%s cuts as %s", (name, other) => {
  const [one, two] = [ofGguf(name), ofGguf(other)];
  for (const { text } of fixture.kinds[0]!.cases) expect(one.encode(text)).toEqual(two.encode(text));
});

test("where the file doesn't say, a start token goes first in those that llama.cpp puts one in", () => {
  const first = (pre: string, more: Record<string, unknown> = {}): boolean =>
    ofGguf(pre, { "tokenizer.ggml.bos_token_id": 7, ...more }).encode("a")[0] === 7;
  expect(["llama-bpe", "falcon3", "tekken"].map((pre) => first(pre))).toEqual([true, true, true]);
  expect(["dbrx", "qwen2", "gpt-4o", "smollm"].some((pre) => first(pre))).toBe(false);
  expect(first("tekken", { "tokenizer.ggml.add_bos_token": false })).toBe(false);
  expect(first("qwen2", { "tokenizer.ggml.add_bos_token": true })).toBe(true);
});

test("the digits of a tokenizer.json are those of all scripts", () => {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const tokenizer = new Tokenizer(
    describeRepositoryTokenizer({
      tokenizer: {
        added_tokens: [],
        normalizer: null,
        pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel] },
        decoder: byteLevel,
        model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
      },
      tokenizerConfig: {},
      endTokens: [],
      chatTemplate: undefined,
    }),
  );
  const { cases } = fixture.kinds.find(({ pre }) => pre === "smollm")!;
  for (const { text, ids } of cases) expect(tokenizer.encode(text)).toEqual(ids);
});
