import fc from "../../support/fast-check.ts";
import { describe, expect, test } from "vitest";
import { BYTE_CHARACTERS, bytesOfToken, tokenOfBytes } from "../../../engine/tokenizer/byte-level.ts";
import { Detokenizer } from "../../../engine/tokenizer/detokenizer.ts";
import { StopStrings } from "../../../engine/tokenizer/stop-strings.ts";
import { Tokenizer } from "../../../engine/tokenizer/tokenizer.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";

const metadata = makeTinyGguf().tokenizerMetadata;
const tokenizer = Tokenizer.fromGguf(metadata);
const text = fc
  .oneof(fc.string({ unit: "grapheme" }), fc.string({ unit: "binary" }), fc.lorem())
  .filter((s) => s.isWellFormed());

function stream(tokens: readonly number[]): string[] {
  const detokenizer = new Detokenizer((token) => tokenizer.bytesOf(token));
  return [...tokens.map((token) => detokenizer.push(token)), detokenizer.finish()];
}

describe("Tokenizer", () => {
  test("text survives encoding and decoding", () => {
    fc.assert(
      fc.property(text, (value) => {
        expect(tokenizer.decode(tokenizer.encode(value))).toBe(value);
      }),
    );
  });

  test("merges are applied and digits stand alone", () => {
    const ids = tokenizer.encode(" the scheduler 42");
    expect(ids.length).toBeLessThan(8);
    expect(ids.map((id) => tokenizer.decode([id])).slice(-2)).toEqual(["4", "2"]);
  });

  test("a conversation becomes control tokens and text; control tokens have no text and end turns", () => {
    const ids = tokenizer.encodeChat([{ role: "user", content: "Hi" }]);
    const [end, start, turn] = [509, 510, 511];
    expect(
      tokenizer.renderChat([
        { role: "system", content: "S" },
        { role: "user", content: "Hi" },
      ]),
    ).toBe("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    expect(ids.filter((id) => id === start)).toHaveLength(3);
    expect(ids.filter((id) => id === turn)).toHaveLength(2);
    expect(tokenizer.decode(ids)).toBe("system\nYou are a tiny model.\nuser\nHi\nassistant\n");
    expect([end, start, turn].map((id) => tokenizer.isEnd(id))).toEqual([true, false, true]);
  });

  test("tools go into the prompt; what the template refuses is told", () => {
    const template =
      "{{ raise_exception('no turns') if not messages }}{% if tools %}{% for t in tools %}{{ t.function.name }};{% endfor %}{% endif %}" +
      "{% for m in messages %}{% for c in m.tool_calls %}{{ c.function.arguments.city }}{% endfor %}{{ m.content }}{% endfor %}>";
    const own = Tokenizer.fromGguf({ ...metadata, "tokenizer.chat_template": template });
    const call = { type: "function", function: { name: "f", arguments: { city: "Paris" } } };
    const messages = [{ role: "assistant", content: "!", tool_calls: [call] }];
    const tools = [{ type: "function", function: { name: "f" } }];
    expect(own.renderChat(messages, { tools })).toBe("f;Paris!>");
    expect(own.renderChat(messages)).toBe("Paris!>");
    expect(own.chatTemplate).toBe(template);
    expect(() => own.renderChat([])).toThrow(RangeError);
    expect(() => own.renderChat([])).toThrow(/refuses the conversation: .*no turns/);
  });

  test("a start token is put first, once, where the model wants it", () => {
    const wants = Tokenizer.fromGguf({ ...metadata, "tokenizer.ggml.add_bos_token": true });
    expect(wants.encode("a")[0]).toBe(510);
    expect(wants.encode("<|im_start|>a").filter((id) => id === 510)).toHaveLength(1);
  });

  test("what is missing or not supported is named", () => {
    const without = (part: Record<string, unknown>) => () => Tokenizer.fromGguf({ ...metadata, ...part });
    expect(without({ "tokenizer.ggml.model": "t5" })).toThrow('"t5" is not supported');
    expect(without({ "tokenizer.ggml.model": "llama" })).toThrow("tokenizer.ggml.scores");
    expect(without({ "tokenizer.ggml.pre": "martian" })).toThrow('"martian" is not supported');
    expect(without({ "tokenizer.ggml.tokens": [1] })).toThrow("tokenizer.ggml.tokens");
    expect(without({ "tokenizer.ggml.merges": ["x"] })).toThrow("tokenizer.ggml.merges");
    expect(without({ "tokenizer.ggml.eos_token_id": 512 })).toThrow("tokenizer.ggml.eos_token_id");
    expect(() => without({ "tokenizer.chat_template": undefined })().encodeChat([])).toThrow("no chat template");
  });
});

describe("Detokenizer", () => {
  test("pieces join to the whole text, whatever the tokens, and never show half a character", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(511), { maxLength: 60 }), (tokens) => {
        const bytes = Uint8Array.from(tokens.flatMap((token) => [...tokenizer.bytesOf(token)]));
        const whole = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
        expect(stream(tokens).join("")).toBe(whole);
      }),
    );
    fc.assert(
      fc.property(text, (value) => {
        const bytes = [...new TextEncoder().encode(value)];
        const pieces = stream(bytes.map((byte) => [...BYTE_CHARACTERS.keys()][byte]!));
        expect(pieces.join("")).toBe(value);
        if (!value.includes("\ufffd")) for (const piece of pieces) expect(piece).not.toContain("\ufffd");
      }),
    );
  });
});

test("the byte alphabet is one-to-one", () => {
  expect(new Set(BYTE_CHARACTERS).size).toBe(256);
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);
  expect(bytesOfToken(tokenOfBytes(all))).toEqual(all);
  expect(BYTE_CHARACTERS[0x20]).toBe("Ġ");
  expect(bytesOfToken("世")).toBeUndefined();
});

describe("StopStrings", () => {
  test("equals a search in the whole text, however it is cut", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 30 });
    const stops = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 4 }), { maxLength: 3 });
    fc.assert(
      fc.property(fc.array(letters, { maxLength: 8 }), stops, (pieces, list) => {
        const scanner = new StopStrings(list);
        const shown: string[] = [];
        let found: string | undefined;
        for (const piece of pieces) {
          const { text, stop } = scanner.push(piece);
          shown.push(text);
          if ((found = stop) !== undefined) break;
        }
        const stopped = found !== undefined;
        if (!stopped) shown.push(scanner.finish());
        // The first stop string to be complete wins; when two complete in one piece, the earlier start.
        const whole = pieces.join("");
        const cuts = list.filter((stop) => stop !== "" && whole.includes(stop));
        expect(stopped).toBe(cuts.length > 0);
        if (stopped) {
          expect(cuts.map((stop) => whole.indexOf(stop))).toContain(shown.join("").length);
          expect(whole.startsWith(shown.join("") + found)).toBe(true);
          const including = new StopStrings(list, true);
          expect(pieces.map((piece) => including.push(piece)).find(({ stop }) => stop !== undefined)).toEqual({
            text: expect.stringMatching(new RegExp(`${found}$`)),
            stop: found,
          });
        } else expect(shown.join("")).toBe(whole);
      }),
    );
  });

  test("holds back only what may become a stop string", () => {
    const scanner = new StopStrings(["</s>", "STOP"]);
    expect(scanner.push("abc<")).toEqual({ text: "abc", stop: undefined });
    expect(scanner.push("/")).toEqual({ text: "", stop: undefined });
    expect(scanner.push("x S")).toEqual({ text: "</x ", stop: undefined });
    expect(scanner.push("TOP it")).toEqual({ text: "", stop: "STOP" });
  });
});
