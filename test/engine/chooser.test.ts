import fc from "../support/fast-check.ts";
import { describe, expect, test } from "vitest";
import { prf } from "../../engine/prf.ts";
import type { TokenHistory } from "../../engine/choice.ts";
import { Chooser } from "../../engine/chooser.ts";
import { checkSampling, GREEDY } from "../../engine/sampling.ts";
import type { SamplingParameters } from "../../engine/types.ts";
import { argmax } from "../support/argmax.ts";

const sampling = (part: Partial<SamplingParameters>): SamplingParameters => ({ ...GREEDY, temperature: 1, ...part });
const NOTHING: TokenHistory = { seen: new Set(), counts: new Map() };
/** Kept by size: random draws ask for thousands. */
const choosers = new Map<number, Chooser>();
function sample(
  logits: Float32Array,
  parameters: SamplingParameters,
  history: TokenHistory,
  u: number,
  barred: readonly number[] = [],
): number {
  let chooser = choosers.get(logits.length);
  if (chooser === undefined) choosers.set(logits.length, (chooser = new Chooser(logits.length)));
  return chooser.choose(logits, { sampling: parameters, history, uniform: u, barred }).token;
}
/** A prompt of `seen`, and an answer of the same. */
const history = (seen: readonly number[]): TokenHistory => {
  const counts = new Map<number, number>();
  for (const token of seen) counts.set(token, (counts.get(token) ?? 0) + 1);
  return { seen: new Set(seen), counts };
};
const logitsOf = (probabilities: number[]): Float32Array => Float32Array.from(probabilities, Math.log);
const arbitraryLogits = fc
  .array(fc.float({ min: -30, max: 30, noNaN: true }), { minLength: 2, maxLength: 60 })
  .filter((a) => new Set(a).size > 1)
  .map((a) => Float32Array.from(a));
const uniform = fc.double({ min: 0, max: 0.9999999, noNaN: true });

function frequencies(logits: Float32Array, parameters: SamplingParameters, draws = 20_000): number[] {
  const counts = new Array<number>(logits.length).fill(0);
  for (let i = 0; i < draws; i++) counts[sample(logits, parameters, NOTHING, prf(3, i))]!++;
  return counts.map((count) => count / draws);
}

/** The obvious definition, on whole sorted lists, to compare with. `slack` widens the borders, where rounding decides. */
function allowedByDefinition(logits: Float32Array, p: SamplingParameters, slack: number): Set<number> {
  const ids = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
  const softmax = (list: number[]): Map<number, number> => {
    const weights = list.map((id) => Math.exp((logits[id]! - logits[ids[0]!]!) / p.temperature));
    const total = weights.reduce((a, b) => a + b, 0);
    return new Map(list.map((id, i) => [id, weights[i]! / total]));
  };
  let left = p.topK > 0 ? ids.slice(0, p.topK) : ids;
  if (p.topP < 1) {
    const probabilities = softmax(left);
    let mass = 0;
    left = left.filter((id) => {
      const before = mass;
      mass += probabilities.get(id)!;
      return before < p.topP + slack;
    });
  }
  const probabilities = softmax(left);
  return new Set(
    left.filter((id, i) => i === 0 || probabilities.get(id)! >= p.minP * probabilities.get(left[0]!)! * (1 - slack)),
  );
}

describe("sample", () => {
  test("temperature 0 and top-k 1 take the best, the first of equals, whatever the draw", () => {
    fc.assert(
      fc.property(arbitraryLogits, uniform, (logits, u) => {
        expect(sample(logits, GREEDY, NOTHING, u)).toBe(argmax(logits));
        expect(sample(logits, sampling({ topK: 1 }), NOTHING, u)).toBe(argmax(logits));
        expect(logits[argmax(logits)]).toBe(Math.max(...logits));
      }),
    );
    expect(argmax(Float32Array.of(1, 3, 3))).toBe(1);
  });

  test("draws follow the softmax, sharpened or flattened by temperature", () => {
    const logits = logitsOf([0.5, 0.3, 0.15, 0.05]);
    const plain = frequencies(logits, sampling({}));
    [0.5, 0.3, 0.15, 0.05].forEach((p, i) => expect(plain[i]).toBeCloseTo(p, 1));
    const sharp = frequencies(logits, sampling({ temperature: 0.5 }));
    expect(sharp[0]).toBeCloseTo(0.25 / 0.365, 1);
    expect(frequencies(logits, sampling({ temperature: 100 }))[3]).toBeCloseTo(0.25, 1);
  });

  test("filtered and unfiltered draws have the same frequencies where the filters let everything pass", () => {
    const logits = logitsOf([0.1, 0.6, 0.3]);
    const all = frequencies(logits, sampling({}));
    frequencies(logits, sampling({ topK: 3 })).forEach((f, i) => expect(f).toBeCloseTo(all[i]!, 1));
  });

  test("top-k, top-p and min-p cut as defined", () => {
    const logits = logitsOf([0.05, 0.4, 0.25, 0.2, 0.1]);
    const seen = (part: Partial<SamplingParameters>): number[] =>
      frequencies(logits, sampling(part)).flatMap((f, id) => (f > 0 ? [id] : []));
    expect(seen({ topK: 2 })).toEqual([1, 2]);
    expect(seen({ topP: 0.6 })).toEqual([1, 2]);
    expect(seen({ topP: 0.7 })).toEqual([1, 2, 3]);
    expect(seen({ minP: 0.45 })).toEqual([1, 2, 3]);
    expect(seen({ topK: 3, topP: 0.5 })).toEqual([1, 2]);
  });

  test("never leaves what the definition allows, and reaches its first and last", () => {
    const parameters = fc.record({
      temperature: fc.double({ min: 0.05, max: 5, noNaN: true }),
      topK: fc.nat(70),
      topP: fc.double({ min: 0.01, max: 0.999, noNaN: true }),
      minP: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(arbitraryLogits, parameters, uniform, (logits, filters, u) => {
        const p = sampling(filters);
        const allowed = allowedByDefinition(logits, p, 1e-9);
        expect(allowed).toContain(sample(logits, p, NOTHING, u));
        expect(sample(logits, p, NOTHING, 0)).toBe(argmax(logits));
        const least = [...allowed].at(-1)!;
        const strict = allowedByDefinition(logits, p, -1e-9);
        if (
          p.topK > 1 &&
          strict.size === allowed.size &&
          Math.exp((logits[least]! - Math.max(...logits)) / p.temperature) > 1e-9
        ) {
          expect(sample(logits, p, NOTHING, 1 - 2 ** -53)).toBe(least);
        }
      }),
    );
  });

  test("filters reach as deep as they must, however unlikely the tokens there", () => {
    const nearlyOne = 1 - 2 ** -53;
    expect(sample(Float32Array.of(0, -10, -20, -30), sampling({ topK: 3 }), NOTHING, nearlyOne)).toBe(2);
    expect(sample(Float32Array.of(0, -10, -20, -30), sampling({ minP: 1e-10 }), NOTHING, nearlyOne)).toBe(2);
    // One likely token, and a tail of 40,000 that together weigh 4.9 times as much.
    const tail = new Float32Array(40_001).fill(-9);
    tail[0] = 0;
    expect(sample(tail, sampling({ topP: 0.9 }), NOTHING, 0.5)).toBeGreaterThan(0);
  });

  test("is deterministic in its arguments and does not change them", () => {
    fc.assert(
      fc.property(arbitraryLogits, uniform, (logits, u) => {
        const before = logits.slice();
        const p = sampling({ topP: 0.9, repetitionPenalty: 1.3 });
        expect(sample(logits, p, history([0, 1]), u)).toBe(sample(logits, p, history([0, 1]), u));
        expect(logits).toEqual(before);
      }),
    );
  });

  test("the repetition penalty makes seen tokens less likely, positive or negative, once each", () => {
    const p = { ...GREEDY, repetitionPenalty: 2 };
    expect(sample(Float32Array.of(4, 3), p, history([0]), 0)).toBe(1);
    expect(sample(Float32Array.of(-1, -1.5), p, history([0]), 0)).toBe(1);
    expect(sample(Float32Array.of(4, 1.5), p, history([0, 0, 0]), 0)).toBe(0);
    expect(sample(Float32Array.of(4, 3), p, history([0, 1]), 0)).toBe(0);
    expect(sample(Float32Array.of(4, 3), p, history([99]), 0)).toBe(0);
  });
});

describe("bias, penalties and bars", () => {
  test("presence counts a token of the answer once, frequency each time; the prompt's don't count", () => {
    const said = { seen: new Set([0, 1, 2]), counts: new Map([[0, 3]]) };
    const of = (part: Partial<SamplingParameters>, logits: number[]): number =>
      sample(Float32Array.from(logits), { ...GREEDY, ...part }, said, 0);
    expect(of({ presencePenalty: 1 }, [4, 3.5, 0])).toBe(1);
    expect(of({ presencePenalty: 1 }, [4, 2.5, 0])).toBe(0);
    expect(of({ frequencyPenalty: 1 }, [4, 1.5, 0])).toBe(1);
    expect(of({ frequencyPenalty: 1 }, [4, 0.5, 0])).toBe(0);
    expect(of({ frequencyPenalty: -1 }, [1, 3.5, 0])).toBe(0);
    expect(of({ presencePenalty: 2, frequencyPenalty: 2 }, [0, 0, 7])).toBe(2);
  });

  test("bias moves a token before everything else; unknown ids do nothing", () => {
    const of = (logitBias: Record<number, number>, part: Partial<SamplingParameters> = {}): number =>
      sample(Float32Array.of(1, 2, 3), { ...GREEDY, logitBias, ...part }, history([1]), 0.5);
    expect(of({ 0: 5 })).toBe(0);
    expect(of({ 2: -100 })).toBe(1);
    expect(of({ 700: 100 })).toBe(2);
    expect(of({ 1: 100 }, { temperature: 1, topK: 2 })).toBe(1);
    // Doubled after the bias: (2 + 2) / 2 is less than 3.
    expect(of({ 1: 2 }, { repetitionPenalty: 2 })).toBe(2);
  });

  test("barred tokens never come, whatever the draw; without bars the draw is the same", () => {
    fc.assert(
      fc.property(arbitraryLogits, uniform, fc.boolean(), (logits, u, greedy) => {
        const p = greedy ? GREEDY : sampling({ topP: 0.7 });
        const before = logits.slice();
        const chosen = sample(logits, p, NOTHING, u);
        expect(sample(logits, p, NOTHING, u, [chosen])).not.toBe(chosen);
        expect(sample(logits, p, NOTHING, u, [700])).toBe(chosen);
        expect(logits).toEqual(before);
      }),
    );
  });
});

test("checkSampling names the parameter", () => {
  expect(() => checkSampling(GREEDY)).not.toThrow();
  for (const [name, value] of [
    ["temperature", -1],
    ["temperature", NaN],
    ["topK", 1.5],
    ["topP", 0],
    ["minP", 2],
    ["repetitionPenalty", 0],
    ["presencePenalty", 3],
    ["frequencyPenalty", NaN],
    ["seed", -1],
  ] as const) {
    expect(() => checkSampling({ ...GREEDY, [name]: value })).toThrow(name);
  }
  const bias = (logitBias: Record<number, number>) => () => checkSampling({ ...GREEDY, logitBias });
  expect(bias({ 5: -100 })).not.toThrow();
  expect(bias({ 5: 101 })).toThrow("logitBias of token 5");
  expect(bias({ [-1]: 1 })).toThrow("a token of logitBias");
  expect(bias(Object.fromEntries(Array.from({ length: 1_025 }, (_, id) => [id, 1])))).toThrow("at most 1024");
});
