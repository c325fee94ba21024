import fc from "../../support/fast-check.ts";
import { describe, expect, test } from "vitest";
import { Detokenizer } from "../../../engine/tokenizer/detokenizer.ts";
import { Tokenizer } from "../../../engine/tokenizer/tokenizer.ts";

/** Control tokens, a token for each byte, single characters, then pieces: as in the files of Llama 2, Mistral, Phi 3 and Gemma. */
const CONTROL = ["<unk>", "<s>", "</s>", "<|user|>", "<|end|>"];
const BYTES = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
const PIECES = ["▁", "a", "b", "c", "é", "▁a", "ab", "abc", "▁ab", "bc", "ca", "▁▁", "cab"];
const TOKENS = [...CONTROL, ...BYTES, ...PIECES];
const scoreOf = (token: string): number => -PIECES.indexOf(token);
const FIRST_BYTE = CONTROL.length;

const metadata = {
  "tokenizer.ggml.model": "llama",
  "tokenizer.ggml.tokens": TOKENS,
  "tokenizer.ggml.scores": TOKENS.map((token) => (PIECES.includes(token) ? scoreOf(token) : 0)),
  "tokenizer.ggml.token_type": TOKENS.map((_, id) => (id < FIRST_BYTE ? 3 : id < FIRST_BYTE + 256 ? 6 : 1)),
  "tokenizer.ggml.bos_token_id": 1,
  "tokenizer.ggml.eos_token_id": 2,
};
const gemmaLike = Tokenizer.fromGguf({ ...metadata, "tokenizer.ggml.add_space_prefix": false });
const llamaLike = Tokenizer.fromGguf(metadata);

/** The algorithm as SentencePiece states it: of all neighbours that join to a piece, join the best, leftmost first. */
function slowly(text: string): number[] {
  const symbols = [...text.replaceAll(" ", "▁")];
  for (;;) {
    let best = -1;
    for (let i = 0; i + 1 < symbols.length; i++) {
      const joined = symbols[i]! + symbols[i + 1]!;
      if (PIECES.includes(joined) && (best < 0 || scoreOf(joined) > scoreOf(symbols[best]! + symbols[best + 1]!)))
        best = i;
    }
    if (best < 0) break;
    symbols.splice(best, 2, symbols[best]! + symbols[best + 1]!);
  }
  return symbols.flatMap((symbol) => {
    const id = TOKENS.indexOf(symbol);
    return id >= 0 ? [id] : [...new TextEncoder().encode(symbol)].map((byte) => FIRST_BYTE + byte);
  });
}

const letters = fc.string({ unit: fc.constantFrom("a", "b", "c", " ", "é", "世"), maxLength: 24 });

describe("SentencePiece's BPE from a GGUF file", () => {
  test("ids are those of the algorithm, and text survives, streamed too", () => {
    fc.assert(
      fc.property(letters, (text) => {
        const ids = gemmaLike.encode(text);
        expect(ids).toEqual([1, ...slowly(text)]);
        expect(gemmaLike.decode(ids)).toBe(text);
        const detokenizer = new Detokenizer((token) => gemmaLike.bytesOf(token));
        expect(ids.map((id) => detokenizer.push(id)).join("") + detokenizer.finish()).toBe(text);
      }),
    );
  });

  test("a space is put before a word where the file wants it, behind control tokens too", () => {
    expect(llamaLike.encode("ab")).toEqual([1, TOKENS.indexOf("▁ab")]);
    expect(llamaLike.encode("<s><|user|>ab<|end|>")).toEqual([1, 3, TOKENS.indexOf("▁ab"), 4]);
    expect(gemmaLike.encode("ab")).toEqual([1, TOKENS.indexOf("ab")]);
    expect(llamaLike.isEnd(2) && llamaLike.isEnd(4)).toBe(true);
  });

  test("scores that don't match the vocabulary are refused", () => {
    expect(() => Tokenizer.fromGguf({ ...metadata, "tokenizer.ggml.scores": [1] })).toThrow("tokenizer.ggml.scores");
  });
});
