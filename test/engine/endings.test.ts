/** What a request says of when its answer ends, and of what is shown of the end. */
import { expect, test } from "vitest";
import { GREEDY } from "../../engine/sampling.ts";
import type { GenerationRequest } from "../../engine/sequence.ts";
import { Bench, request, text } from "../support/ledger-bench.ts";

test("stop tokens end an answer as end-of-turn tokens do, but not too early; they are part of it where that is asked for", async () => {
  const [first, second] = (await new Bench(1).ask(0, request([1, 2]))) as [number, number];
  const stopped = async (part: Partial<GenerationRequest>) => {
    const bench = new Bench(1);
    const tokens = await bench.ask(0, request([1, 2], part));
    const { text: said, outputs } = bench.said.get(0)!;
    return { tokens, said, end: outputs.at(-1)! };
  };
  const stopTokens = [second];
  expect(await stopped({ stopTokens })).toMatchObject({
    tokens: [first],
    said: text.decode([first]),
    end: { finishReason: "stop", stoppedBy: second, tokens: [] },
  });
  expect(await stopped({ stopTokens, includesStop: true })).toMatchObject({
    tokens: [first, second],
    said: text.decode([first, second]),
    end: { finishReason: "stop", stoppedBy: second, tokens: [second] },
  });
  const later = await stopped({ stopTokens, minTokens: 2 });
  expect(later.tokens.length).toBeGreaterThan(1);
  expect(later.tokens).not.toContain(second);
  const stop = [text.decode([second])];
  expect(await stopped({ stop, includesStop: true })).toMatchObject({
    said: text.decode([first, second]),
    end: { finishReason: "stop", stoppedBy: stop[0] },
  });
  expect((await stopped({ stop })).said).toBe(text.decode([first]));
  expect((await stopped({})).end).not.toHaveProperty("stoppedBy");
});

test("end-of-turn tokens that are not wanted don't come; what the request says still ends it", async () => {
  const sampling = { ...GREEDY, logitBias: { 511: 100 } };
  const bench = new Bench(1);
  const tokens = await bench.ask(0, request([1, 2], { sampling, ignoresEnd: true }));
  expect([tokens.length, tokens.includes(511)]).toEqual([8, false]);
  const ended = await new Bench(1).ask(0, request([1, 2], { sampling, ignoresEnd: true, stopTokens: [tokens[3]!] }));
  expect(ended).toEqual(tokens.slice(0, tokens.indexOf(tokens[3]!)));
  expect(await new Bench(1).ask(0, request([1, 2], { sampling, ignoresEnd: true, stopTokens: [511] }))).toEqual([]);
});

test("only tokens that are allowed come, the end-of-turn token's too only if it is one of them", async () => {
  const sampling = { ...GREEDY, temperature: 2, seed: 5, logitBias: { 511: 100 } };
  const tokens = await new Bench(1).ask(0, request([1, 2], { sampling, allowedTokens: [500, 3, 64] }));
  expect(tokens).toHaveLength(8);
  expect(new Set(tokens)).toEqual(new Set([500, 3, 64]));
  expect(await new Bench(1).ask(0, request([1, 2], { sampling, allowedTokens: [3, 511] }))).toEqual([]);
});

test("control tokens have their spelling in the text where that is wanted", async () => {
  const sampling = { ...GREEDY, logitBias: { 510: 100 } };
  const said = async (showsControl: boolean): Promise<string> => {
    const bench = new Bench(1);
    await bench.ask(0, request([1, 2], { sampling, maxTokens: 1, showsControl }));
    return bench.said.get(0)!.text;
  };
  expect([await said(false), await said(true)]).toEqual(["", "<|im_start|>"]);
});

test("are refused by name when they make no sense", () => {
  const submit = (part: Partial<GenerationRequest>) => () => new Bench(1).submit(0, request([1], part));
  expect(submit({ stopTokens: [900] })).toThrow("token 900");
  expect(submit({ stopTokens: new Array<number>(65).fill(1) })).toThrow("at most 64 stop tokens");
  expect(submit({ allowedTokens: [] })).toThrow("allowedTokens has 1 to 1024 ids, not 0");
  expect(submit({ allowedTokens: [1], grammar: { type: "const_string", value: "a" } })).toThrow("with a grammar");
  expect(submit({ includesStop: 1 as never })).toThrow("includesStop must be true or false");
});
