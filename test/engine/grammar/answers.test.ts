/** Answers under a grammar: whatever the model would like to say, what comes out fits, alone or in a batch, in one piece or cut anywhere. */
import fc from "../../support/fast-check.ts";
import { afterAll, describe, expect, test } from "vitest";
import { Chooser } from "../../../engine/chooser.ts";
import type { GrammarFormat } from "../../../engine/grammar/format.ts";
import { EngineLoop } from "../../../engine/loop.ts";
import { prf } from "../../../engine/prf.ts";
import { GrammarError } from "../../../engine/refusals.ts";
import { GREEDY } from "../../../engine/sampling.ts";
import { type GenerationRequest, type Output, Sequence } from "../../../engine/sequence.ts";
import { createLedgerRunner } from "../../support/ledger-runner.ts";
import { TINY_CONFIG, tinyGrammars, TINY_TOKENIZER } from "../../support/tiny-grammars.ts";

const grammars = tinyGrammars();
afterAll(() => grammars.close());

const request = (part: Partial<GenerationRequest> = {}): GenerationRequest => ({
  promptTokens: [5],
  sampling: GREEDY,
  maxTokens: 400,
  stop: [],
  ...part,
});

/** Random scores for each position; what closes strings and brackets is liked, or answers would not end. */
const closing = Array.from({ length: TINY_CONFIG.vocabulary }, (_, token) =>
  /^["}\]]/.test(TINY_TOKENIZER.decode([token])) || TINY_TOKENIZER.isEnd(token) ? 3 : 0,
);
const logitsAt = (seed: number, position: number): Float32Array =>
  Float32Array.from(closing, (liked, token) => 6 * prf(seed + position, token) + liked);

async function answer(
  format: GrammarFormat,
  seed: number,
  part: Partial<GenerationRequest> = {},
): Promise<{ text: string; tokens: number[]; outputs: Output[]; finishReason: string | undefined }> {
  const limits = { slotLength: 512, windowTokens: 512, now: 0 };
  const sequence = new Sequence(1, request(part), TINY_TOKENIZER, limits, await grammars.mask(format));
  const chooser = new Chooser(TINY_CONFIG.vocabulary);
  const outputs: Output[] = [];
  while (outputs.at(-1)?.finishReason === undefined) {
    await sequence.prepare();
    outputs.push(sequence.advance(chooser.choose(logitsAt(seed, sequence.length), sequence.draw())));
  }
  sequence.dispose();
  return {
    text: outputs.map(({ text }) => text).join(""),
    tokens: outputs.flatMap(({ tokens }) => tokens),
    outputs,
    finishReason: outputs.at(-1)?.finishReason,
  };
}

type Schema = Readonly<Record<string, unknown>>;
/** The part of JSON Schema that the property below draws from. */
function fits(schema: Schema, value: unknown): boolean {
  if ("anyOf" in schema) return (schema["anyOf"] as Schema[]).some((one) => fits(one, value));
  if ("enum" in schema) return (schema["enum"] as unknown[]).includes(value);
  switch (schema["type"]) {
    case "object": {
      if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
      const properties = schema["properties"] as Readonly<Record<string, Schema>>;
      return (
        (schema["required"] as string[]).every((name) => name in value) &&
        Object.entries(value).every(([name, inner]) => name in properties && fits(properties[name]!, inner))
      );
    }
    case "array":
      return (
        Array.isArray(value) &&
        value.length >= (schema["minItems"] as number) &&
        value.length <= (schema["maxItems"] as number) &&
        value.every((item) => fits(schema["items"] as Schema, item))
      );
    case "integer":
    case "number":
      return (
        typeof value === "number" &&
        (schema["type"] === "number" || Number.isInteger(value)) &&
        !(value < Number(schema["minimum"])) &&
        !(value <= Number(schema["exclusiveMinimum"])) &&
        !(value > Number(schema["maximum"])) &&
        !(value >= Number(schema["exclusiveMaximum"]))
      );
    case "string":
      return typeof value === "string" && new RegExp(String(schema["pattern"] ?? "")).test(value);
    case "null":
      return value === null;
    default:
      return typeof value === schema["type"];
  }
}

const bound = fc.oneof(fc.integer({ min: -1_200, max: 1_200 }), fc.double({ min: -99, max: 99, noNaN: true }));
const numbers: fc.Arbitrary<Schema> = fc
  .record({
    type: fc.constantFrom("integer", "number"),
    low: fc.constantFrom("minimum", "exclusiveMinimum", undefined),
    high: fc.constantFrom("maximum", "exclusiveMaximum", undefined),
    from: bound,
    more: fc.oneof(fc.integer({ min: 2, max: 20 }), fc.double({ min: 2, max: 2_000, noNaN: true })),
  })
  .map(({ type, low, high, from, more }) => ({
    type,
    ...(low === undefined ? {} : { [low]: from }),
    ...(high === undefined ? {} : { [high]: from + more }),
  }));
const leaf: fc.Arbitrary<Schema> = fc.oneof(
  numbers,
  fc.constantFrom<Schema>({ type: "boolean" }, { type: "null" }, { type: "string" }, { type: "number" }),
  fc.constantFrom<Schema>(
    { type: "string", pattern: "^[a-f]+-[0-9]{3}$" },
    { type: "string", pattern: "^(red|green)$" },
  ),
  fc
    .uniqueArray(fc.oneof(fc.string({ minLength: 1, maxLength: 5 }), fc.nat(99)), { minLength: 1, maxLength: 4 })
    .map((values) => ({ enum: values })),
);
const schemas = fc.letrec<{ any: Schema; object: Schema }>((tie) => ({
  object: fc
    .uniqueArray(fc.tuple(fc.stringMatching(/^[a-z_ é-]{1,6}$/), tie("any"), fc.boolean()), {
      minLength: 1,
      maxLength: 4,
      selector: ([name]) => name,
    })
    .map((entries) => ({
      type: "object",
      properties: Object.fromEntries(entries.map(([name, inner]) => [name, inner])),
      required: entries.filter(([, , isRequired]) => isRequired).map(([name]) => name),
      additionalProperties: false,
    })),
  any: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    leaf,
    tie("object"),
    fc
      .tuple(tie("any"), fc.nat(2), fc.nat(2))
      .map(([items, minItems, more]) => ({ type: "array", items, minItems, maxItems: minItems + more })),
    fc.tuple(tie("any"), tie("any")).map((anyOf) => ({ anyOf })),
  ),
}));

test("what comes out parses and fits its schema, however it is sampled", async () => {
  const ended = { stop: 0, length: 0 };
  await fc.assert(
    fc.asyncProperty(
      schemas.object,
      fc.nat(1e6),
      fc.constantFrom(
        GREEDY,
        { ...GREEDY, temperature: 1 },
        { ...GREEDY, temperature: 2, topK: 3 },
        { ...GREEDY, temperature: 1, topP: 0.5, minP: 0.1 },
        { ...GREEDY, temperature: 0.7, presencePenalty: 2, repetitionPenalty: 1.5, logitBias: { 0: 50, 1: -100 } },
      ),
      fc.constantFrom(0, 40),
      async (schema, seed, sampling, minTokens) => {
        const { text, finishReason } = await answer({ type: "json_schema", json_schema: schema }, seed, {
          sampling: { ...sampling, seed },
          minTokens,
        });
        ended[finishReason as "stop" | "length"]++;
        if (finishReason === "length") return;
        expect(fits(schema, JSON.parse(text)), `${text} against ${JSON.stringify(schema)}`).toBe(true);
      },
    ),
    { numRuns: 80 },
  );
  // Most do end.
  expect(ended.stop).toBeGreaterThan(ended.length * 3);
});

const FORMAT: GrammarFormat = {
  type: "json_schema",
  json_schema: {
    type: "object",
    properties: { name: { type: "string" }, sizes: { type: "array", items: { type: "integer" }, maxItems: 3 } },
    required: ["name", "sizes"],
  },
};

describe("an answer under a grammar", () => {
  test("goes on from any of its tokens as it would have", async () => {
    const sampling = { ...GREEDY, temperature: 1, seed: 11 };
    const whole = await answer(FORMAT, 3, { sampling });
    expect(whole.tokens.length).toBeGreaterThan(8);
    for (let cut = 0; cut < whole.tokens.length; cut++) {
      const rest = await answer(FORMAT, 3, { sampling, generated: whole.tokens.slice(0, cut) });
      expect(rest.tokens).toEqual(whole.tokens.slice(cut));
    }
  });

  test("refuses to go on from what doesn't fit", async () => {
    await expect(answer(FORMAT, 3, { generated: TINY_TOKENIZER.encode("Once") })).rejects.toThrow(GrammarError);
  });

  test("has the model's own logprobs", async () => {
    const { outputs } = await answer(FORMAT, 3, { logprobs: 2 });
    const [first] = outputs[0]!.logprobs!;
    expect(first!.top[0]!.logprob).toBeGreaterThan(first!.logprob);
  });

  test("ends when it is whole, though it has fewer tokens than it should", async () => {
    const yes: GrammarFormat = { type: "const_string", value: "yes" };
    expect(await answer(yes, 3, { minTokens: 50 })).toMatchObject({ text: "yes", finishReason: "stop" });
    expect(await answer(yes, 3, { logitBias: {} } as never)).toMatchObject({ text: "yes" });
  });

  test("is cut by length, and by a stop string", async () => {
    expect(await answer(FORMAT, 3, { maxTokens: 2 })).toMatchObject({ finishReason: "length" });
    expect((await answer(FORMAT, 3, { stop: ["sizes"] })).text).toMatch(/^\{"name": ".*", "$/s);
  });
});

test("batches, preemption and moves change nothing of it", async () => {
  const happened = { preempted: 0 };
  const formats: readonly (GrammarFormat | undefined)[] = [
    FORMAT,
    undefined,
    { type: "regex", pattern: "([a-z]+ )+[0-9]+" },
    { type: "json_schema", json_schema: { type: "array", items: { type: "boolean" }, minItems: 4 } },
  ];
  const run = async (
    jobs: readonly { format: number; prompt: readonly number[]; seed: number }[],
    slots: number,
    patienceMs: number,
  ): Promise<number[][]> => {
    let now = 0;
    const runner = createLedgerRunner(TINY_CONFIG, { slots, slotLength: 64 });
    const loop = new EngineLoop({
      runner,
      text: TINY_TOKENIZER,
      yieldTurn: () => Promise.resolve(),
      now: () => ++now,
      budget: { patienceMs, prefillChunk: 3, prefillRunCost: 1 },
    });
    const masks = await Promise.all(jobs.map(({ format }) => formats[format] && grammars.mask(formats[format])));
    const tokens = jobs.map((): number[] => []);
    jobs.forEach(({ prompt, seed }, id) =>
      loop.submit(
        id,
        request({ promptTokens: prompt, maxTokens: 20, sampling: { ...GREEDY, temperature: 1, seed } }),
        {
          onOutput: (output) => {
            tokens[id]!.push(...output.tokens);
            loop.acknowledge(id, output.tokens.length);
          },
          onError: (error) => {
            throw error;
          },
        },
        masks[id],
      ),
    );
    await loop.idle();
    happened.preempted += loop.stats.preemptions;
    return tokens;
  };
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          format: fc.nat(formats.length - 1),
          prompt: fc.array(fc.nat(400), { minLength: 1, maxLength: 12 }),
          seed: fc.nat(1e6),
        }),
        { minLength: 2, maxLength: 6 },
      ),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 5, max: 60 }),
      async (jobs, slots, patienceMs) => {
        const together = await run(jobs, slots, patienceMs);
        for (const [at, job] of jobs.entries()) expect(together[at]).toEqual((await run([job], 1, 1e9))[0]);
      },
    ),
    { numRuns: 40 },
  );
  expect(happened.preempted).toBeGreaterThan(10);
});

test("a grammar that breaks ends its own answer only", async () => {
  const runner = createLedgerRunner(TINY_CONFIG, { slots: 2, slotLength: 64 });
  let now = 0;
  const loop = new EngineLoop({
    runner,
    text: TINY_TOKENIZER,
    yieldTurn: () => Promise.resolve(),
    now: () => ++now,
  });
  const mask = await grammars.mask(FORMAT);
  let disposed = 0;
  const broken = {
    prepare: () => mask.prepare(),
    get mustEnd() {
      return mask.mustEnd;
    },
    get allowed() {
      if (now > 20) throw new GrammarError("it broke");
      return mask.allowed;
    },
    accept: (token: number) => mask.accept(token),
    dispose: () => void disposed++,
  };
  const errors: string[] = [];
  const ends: (string | undefined)[] = [];
  const listen = (id: number) => ({
    onOutput: ({ finishReason }: Output) => void (finishReason && ends.push(`${id} ${finishReason}`)),
    onError: (error: Error) => void errors.push(`${id} ${error.message}`),
  });
  loop.submit(1, request({ maxTokens: 30 }), listen(1), broken);
  loop.submit(2, request({ maxTokens: 30, promptTokens: [9, 9] }), listen(2));
  await loop.idle();
  expect([errors, ends, disposed, loop.size]).toEqual([["1 it broke"], ["2 length"], 1, 0]);
});
