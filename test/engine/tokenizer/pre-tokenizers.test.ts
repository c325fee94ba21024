/** How GGUF's pre-tokenisers cut text, against Hugging Face's tokenizers with the models' published patterns (see the script beside the fixture). */
import { describe, expect, test } from "vitest";
import { Tokenizer } from "../../../engine/tokenizer/tokenizer.ts";
import fixture from "../../fixtures/pre-tokenizers.json" with { type: "json" };

describe.each(fixture.kinds)("$pre", ({ pre, cases }) => {
  const tokenizer = Tokenizer.fromGguf({
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": pre,
    "tokenizer.ggml.tokens": fixture.tokens,
    "tokenizer.ggml.merges": fixture.merges,
  });

  test.each(cases)("$text", ({ text, ids }) => {
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(pre === "qwen2" ? text.normalize("NFC") : text);
  });
});
