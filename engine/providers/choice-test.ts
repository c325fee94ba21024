/** Has tokens chosen on a GPU and by its twin on the host, where no rounding decides. */
import type { Choice, Draw } from "../choice.ts";
import { Chooser } from "../chooser.ts";
import { prf } from "../prf.ts";
import { GREEDY } from "../sampling.ts";
import type { GpuChooser } from "./gpu-chooser.ts";
import type { GpuRuntime } from "./ort-webgpu.ts";
import type { Check } from "./self-test.ts";

/** Scores of the best tokens: each weighs less by a factor of e, and all others together next to nothing. */
const HIGHEST = 24;
const PEAKS = 10;
/** They lie far apart, whatever the vocabulary. */
const STRIDE = 7_919;
/** Of log-probabilities, in nats: sums in f32 err by less than 1e-6. */
const TOLERANCE = 1e-4;

export async function checkChoice(
  gpu: Pick<GpuRuntime, "write">,
  chooser: Pick<GpuChooser, "logits" | "choose">,
  vocabulary: number,
): Promise<Check> {
  const row = Float32Array.from({ length: vocabulary }, (_, token) => 2 * prf(7, token) - 1);
  const peaks = Array.from({ length: PEAKS }, (_, i) => (i * STRIDE + 3) % vocabulary);
  for (const [i, token] of peaks.entries()) row[token] = HIGHEST - i;
  const draws = drawsOf(peaks, vocabulary);
  const logits = new Float32Array(draws.length * vocabulary);
  for (const at of draws.keys()) logits.set(row, at * vocabulary);
  gpu.write(chooser.logits(draws.length), logits);
  const choices = await chooser.choose(draws);
  const twin = new Chooser(vocabulary);
  const error = Math.max(...draws.map((draw, at) => difference(choices[at], twin.choose(row, draw))));
  return { what: "the choice of tokens", error, tolerance: TOLERANCE };
}

/** The best that may come; a filtered draw that falls on the second of what is left; an unfiltered one that falls on the best. */
function drawsOf([first, second, third]: readonly number[], vocabulary: number): readonly Draw[] {
  const plain = { history: { seen: new Set<number>(), counts: new Map<number, number>() }, barred: [] };
  const allowed = new Int32Array(Math.ceil(vocabulary / 32)).fill(-1);
  allowed[first! >> 5]! &= ~(1 << (first! & 31));
  return [
    { ...plain, sampling: GREEDY, uniform: 0, allowed, barred: [second!, third!] },
    {
      ...plain,
      sampling: {
        ...GREEDY,
        temperature: 1,
        topK: 5,
        topP: 0.95,
        minP: 0.01,
        repetitionPenalty: 2,
        logitBias: { [third!]: 0.5 },
      },
      history: { seen: new Set([first!]), counts: new Map() },
      uniform: 0.75,
      logprobs: 20,
    },
    { ...plain, sampling: { ...GREEDY, temperature: 2 }, uniform: 0.1, logprobs: 0 },
  ];
}

/** Of log-probabilities; infinite where the tokens are others. */
function difference(actual: Choice | undefined, expected: Choice): number {
  const entries = ({ token, logprob }: Choice) => [logprob ?? { token, logprob: 0 }, ...(logprob?.top ?? [])];
  const [got, wanted] = [actual ? entries(actual) : [], entries(expected)];
  const isSame = got.length === wanted.length && got.every(({ token }, i) => token === wanted[i]!.token);
  if (!isSame) return Infinity;
  return Math.max(...got.map(({ logprob }, i) => Math.abs(logprob - wanted[i]!.logprob)));
}
