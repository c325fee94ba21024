/** What can be asked of an answer's form, and what is refused: with the real compiler. */
import { afterAll, describe, expect, test } from "vitest";
import type { GrammarFormat } from "../../../engine/grammar/format.ts";
import { Grammars } from "../../../engine/grammar/grammars.ts";
import {
  GRAMMAR_CHARACTERS_MAX,
  GRAMMARS_CHARACTERS_MAX,
  GRAMMARS_MAX,
  GRAMMARS_STARTING_MAX,
} from "../../../engine/limits.ts";
import { nodeGrammarHost } from "../../../engine/node/grammar-host.ts";
import { EngineFullError, GrammarError } from "../../../engine/refusals.ts";
import { Tokenizer } from "../../../engine/tokenizer/tokenizer.ts";
import { allowedTokens } from "../../support/allowed-tokens.ts";
import { takesWhole, tinyGrammars, TINY_TOKENIZER } from "../../support/tiny-grammars.ts";

const grammars = tinyGrammars();
afterAll(() => grammars.close());

const takes = (format: GrammarFormat, text: string, tokenizer = TINY_TOKENIZER, of = grammars): Promise<boolean> =>
  takesWhole(of, format, text, tokenizer);

const schema = (json_schema: object | boolean): GrammarFormat => ({ type: "json_schema", json_schema });

describe("formats", () => {
  const person = schema({
    type: "object",
    properties: { name: { type: "string" }, age: { type: "integer" } },
    required: ["name", "age"],
  });

  test.each([
    ['{"name": "Ann", "age": 7}', true],
    ['{"name": "Ünï 世界 🙂 \\n", "age": -12}', true],
    ['{"name": "Ann"}', false],
    ['{"age": 7, "name": "Ann"}', false],
    ['{"name": "Ann", "age": 7, "more": 1}', false],
    ['{"name": "Ann", "age": 7', false],
    ["Ann", false],
  ])("a schema of an object and %s: %s", async (text, fits) => {
    expect(await takes(person, text)).toBe(fits);
  });

  test("any object, a pattern, a choice", async () => {
    const any = schema({ type: "object" });
    expect(await takes(any, '{"a": {"b": [1, 2.5e3, null, true, "x"]}, "c": {}}')).toBe(true);
    expect(await takes(any, "[1]")).toBe(false);
    expect(await takes({ type: "regex", pattern: "[a-c]+-\\d{2}" }, "abc-42")).toBe(true);
    expect(await takes({ type: "regex", pattern: "[a-c]+-\\d{2}" }, "abc-4")).toBe(false);
    expect(await takes({ type: "regex", pattern: "é.[^.]\\.|[.]" }, "éé世.")).toBe(true);
    expect(await takes({ type: "regex", pattern: "é.[^.]\\.|[.]" }, "éé.é")).toBe(false);
    const choice: GrammarFormat = {
      type: "or",
      elements: ["yes", "no"].map((value) => ({ type: "const_string", value })),
    };
    expect(await Promise.all(["yes", "no", "ye", "maybe"].map((text) => takes(choice, text)))).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  test("once it is whole, nothing but an end may come", async () => {
    const mask = await grammars.mask({ type: "const_string", value: "river" });
    const seen: boolean[] = [];
    for (const token of TINY_TOKENIZER.encode("river")) {
      await mask.prepare();
      seen.push(mask.mustEnd);
      mask.accept(token);
    }
    await mask.prepare();
    expect([...new Set(seen), mask.mustEnd]).toEqual([false, true]);
    expect(allowedTokens(mask)).toEqual(TINY_TOKENIZER.endTokens.toSorted((a, b) => a - b));
    mask.dispose();
  });

  test("a vocabulary of pieces and bytes, and scores for more than it has", async () => {
    const pieces = ["{", "}", '"', ":", "▁", "a", "b", ",", "▁a", '":', "é", '{"'];
    const tokens = [
      "<unk>",
      "<s>",
      "</s>",
      ...Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`),
      ...pieces,
    ];
    const tokenizer = Tokenizer.fromGguf({
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.scores": tokens.map((_, id) => -id),
      "tokenizer.ggml.token_type": tokens.map((_, id) => (id < 3 ? 3 : id < 259 ? 6 : 1)),
      "tokenizer.ggml.bos_token_id": 1,
      "tokenizer.ggml.eos_token_id": 2,
      "tokenizer.ggml.add_space_prefix": false,
      "tokenizer.ggml.add_bos_token": false,
    });
    const padded = new Grammars(nodeGrammarHost, tokenizer, tokens.length + 53);
    const format = schema({ type: "object", properties: { a: { type: "string" } }, required: ["a"] });
    expect(await takes(format, '{"a": "bé世 a"}', tokenizer, padded)).toBe(true);
    expect(await takes(format, '{"b": "a"}', tokenizer, padded)).toBe(false);
    padded.close();
  });
});

describe("refused, by name", () => {
  const nested = (depth: number): object =>
    Array.from({ length: depth }).reduce<object>((inner) => ({ type: "object", properties: { a: inner } }), {
      type: "string",
    });
  test.each<[string, object | boolean, string | RegExp]>([
    ["an unknown type", { type: "nope" }, 'Unsupported type "nope"'],
    ["a keyword that would be passed over", { type: "array", uniqueItems: true }, '"uniqueItems" is not supported'],
    ["the same, deep inside", { properties: { a: { anyOf: [{ not: {} }] } } }, '"not" is not supported'],
    ["what the compiler warns of", { allOf: [{ type: "string" }, { minLength: 3 }] }, "allOf with multiple options"],
    ["a pattern it can't read", { type: "string", pattern: "(?=a)b" }, "Lookahead is not supported"],
    ["a class that would be read as another", { type: "string", pattern: "[a-zé]" }, "the class [a-zé] has characters"],
    ["the same in a name's pattern", { patternProperties: { "^[^\\u2000]": {} } }, "has characters beyond ASCII"],
    ["a name that JSON would escape", { type: "object", properties: { 'a"b': {} } }, "must not have quotes"],
    ["a reference to nothing", { $ref: "#/$defs/none" }, "Cannot find field $defs"],
    [
      "bounds that exclude everything",
      { type: "integer", minimum: 3, maximum: 2 },
      "no integer from 3 to 2 that could be said",
    ],
    ["too much nesting", nested(300), /nested too deeply/],
    ["too much of it", { const: "x".repeat(GRAMMAR_CHARACTERS_MAX) }, /at most 65536 are taken/],
  ])("%s", async (_, given, reason) => {
    const error = await grammars.mask(schema(given)).catch((refusal: unknown) => refusal);
    expect(error).toBeInstanceOf(GrammarError);
    expect((error as Error).message).toMatch(reason);
  });

  test("and others go on: a compiler that broke is another's", async () => {
    const mask = await grammars.mask(schema({ type: "boolean" }));
    await grammars.mask(schema({ type: "nope" })).catch(() => undefined);
    await mask.prepare();
    expect(allowedTokens(mask)).toHaveLength(2);
    mask.dispose();
    (await grammars.mask(schema({ type: "null" }))).dispose();
  });

  test("few are kept, and fewer large ones; what was forgotten comes back", async () => {
    const fresh = tinyGrammars();
    const ask = async (description: string): Promise<void> =>
      (await fresh.mask(schema({ type: "null", description }))).dispose();
    for (let at = 0; at <= GRAMMARS_MAX; at++) await ask(`v${at}`);
    expect(fresh.size).toBe(GRAMMARS_MAX);
    const large = 50_000;
    for (const letter of "abcdef") await ask(letter.repeat(large));
    expect(fresh.size).toBe(Math.floor(GRAMMARS_CHARACTERS_MAX / large));
    await ask("v0");
    fresh.close();
  });

  test("a crowd of new ones at once, not one that many ask for", async () => {
    const fresh = tinyGrammars();
    const format = (at: number): GrammarFormat => ({ type: "const_string", value: `v${at}` });
    const same = Array.from({ length: 20 }, () => fresh.mask(format(0)));
    const others = Array.from({ length: GRAMMARS_STARTING_MAX }, (_, at) => fresh.mask(format(at + 1)));
    const results = await Promise.allSettled([...same, ...others]);
    const refusals = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
    expect(refusals).toEqual([expect.any(EngineFullError)]);
    fresh.close();
  });
});
