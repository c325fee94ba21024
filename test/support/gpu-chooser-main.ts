/**
 * A child process for tests: the GPU's chooser on whatever adapter the environment gives (SwiftShader) beside its twin on the host, over random
 * rows and draws. Prints one JSON line. argv: batches for each vocabulary, vocabularies.
 */
import { Chooser } from "../../engine/chooser.ts";
import type { Choice, Draw } from "../../engine/choice.ts";
import { prf } from "../../engine/prf.ts";
import { findAdapter, openDevice } from "../../engine/providers/gpu-device.ts";
import { GpuChooser } from "../../engine/providers/gpu-chooser.ts";
import { nodeGpu } from "../../engine/providers/node-gpu.ts";
import { gpuRuntime } from "../../engine/providers/ort-webgpu.ts";
import { GREEDY } from "../../engine/sampling.ts";

export interface ChooserRun {
  readonly rows: number;
  /** Rows whose token is not the twin's, though it may be by a draw or a filter moved by `SLACK`. */
  readonly near: number;
  /** What else differs, as sentences. */
  readonly wrong: readonly string[];
  /** Largest difference of a log-probability, in nats. */
  readonly worstLogprob: number;
  /** What the refusals said. */
  readonly refusals: readonly string[];
}

const ROWS_MAX = 8;
const SLACK = 1e-5;
let counter = 0;
const chance = (): number => prf(42, counter++);
const whole = (below: number): number => Math.floor(chance() * below);
const oneOf = <T>(...values: readonly T[]): T => values[whole(values.length)]!;
const sometimes = <T>(value: () => T, otherwise: T): T => (chance() < 0.5 ? value() : otherwise);

/** In some rows many are equal, in some nearly all weigh the same, and some have an outlier. */
function randomRow(vocabulary: number): Float32Array {
  const [spread, grain] = [oneOf(0.02, 1, 4, 30), oneOf(1 / 4, 1 / 4096)];
  const row = Float32Array.from({ length: vocabulary }, () => {
    const score = (chance() + chance() + chance() - 1.5) * spread;
    return Math.round(score / grain) * grain;
  });
  row[whole(vocabulary)] = oneOf(-100, 0.5, 9);
  row[whole(vocabulary)] = -0;
  row[whole(vocabulary)] = -7;
  return row;
}

function randomDraw(vocabulary: number): Draw {
  const some = (most: number): number[] => Array.from({ length: whole(most) }, () => whole(vocabulary));
  // All of these have few bits: with them f32 is as exact as f64.
  const answer = some(40);
  const counts = new Map<number, number>();
  for (const token of answer) counts.set(token, (counts.get(token) ?? 0) + 1);
  const words = (): Int32Array => {
    const density = oneOf(0.02, 0.5, 0.99);
    const bits = new Int32Array(Math.ceil(vocabulary / 32));
    for (let token = 0; token < vocabulary; token++) if (chance() < density) bits[token >> 5]! |= 1 << (token & 31);
    const must = whole(vocabulary);
    bits[must >> 5]! |= 1 << (must & 31);
    // Behind the vocabulary there may be anything.
    if (vocabulary % 32 > 0) bits[bits.length - 1]! |= -1 << (vocabulary % 32);
    return bits;
  };
  const allowed = chance() < 0.3 ? words() : undefined;
  return {
    sampling: {
      ...GREEDY,
      temperature: oneOf(0, 0.1, 0.8, 1, 1, 3, 100),
      topK: sometimes(() => oneOf(1, 2, 5, 40, vocabulary, 1_000_000), 0),
      topP: sometimes(() => oneOf(0.01, 0.3, 0.9, 0.999), 1),
      minP: sometimes(() => oneOf(1e-6, 0.02, 0.5, 1), 0),
      repetitionPenalty: sometimes(() => oneOf(0.5, 1.25, 2), 1),
      presencePenalty: sometimes(() => oneOf(-1, 0.5, 2), 0),
      frequencyPenalty: sometimes(() => oneOf(-0.25, 0.5), 0),
      logitBias: sometimes(
        () =>
          Object.fromEntries(
            [...some(20), vocabulary, vocabulary + 77].map((token) => [token, oneOf(-100, 2, 0.5, 100)]),
          ),
        {},
      ),
    },
    history: { seen: new Set([...some(60), ...answer, vocabulary + 3]), counts },
    uniform: oneOf(0, 1 - 2 ** -53, 0.5, chance(), chance(), chance(), chance()),
    barred:
      chance() < 0.3
        ? oneOf(
            some(8),
            [vocabulary, vocabulary - 1],
            Array.from({ length: vocabulary }, (_, id) => id),
          )
        : [],
    ...(allowed && { allowed }),
    ...(chance() < 0.5 && { logprobs: oneOf(0, 1, 5, 20) }),
  };
}

/** Tokens best first, equals by id, as bias, penalties and the mask leave them; what may not come is not among them. */
function ranked(row: Float32Array, { sampling, history, allowed }: Draw): number[] {
  const scores = row.map((score, token) => {
    let adjusted = Math.fround(score + (sampling.logitBias[token] ?? 0));
    if (history.seen.has(token)) adjusted *= sampling.repetitionPenalty ** (adjusted > 0 ? -1 : 1);
    const count = history.counts.get(token);
    return Math.fround(adjusted) - (count ? sampling.presencePenalty + sampling.frequencyPenalty * count : 0);
  });
  const may = (token: number): boolean => allowed === undefined || ((allowed[token >> 5]! >> (token & 31)) & 1) === 1;
  return [...scores.keys()].filter(may).sort((a, b) => scores[b]! - scores[a]! || a - b);
}

/** Whether the token lies between those that the twin gives when draw and filters are moved by no more than `SLACK`. */
function isNear(twin: Chooser, row: Float32Array, draw: Draw, token: number): boolean {
  const order = ranked(row, draw);
  const { topP, minP } = draw.sampling;
  const moved = (value: number, by: number): number => Math.min(1, value * (1 + by * SLACK));
  const places = [-1, 1].flatMap((p) =>
    [-1, 1].flatMap((m) =>
      [-1, 1].map((u) => {
        // Beyond 1 the twin gives the last that is left.
        const uniform = Math.max(0, draw.uniform + u * SLACK);
        const sampling = { ...draw.sampling, topP: moved(topP, p), minP: moved(minP, m) };
        return order.indexOf(twin.choose(row, { ...draw, sampling, uniform }).token);
      }),
    ),
  );
  const place = order.indexOf(token);
  return place >= Math.min(...places) && place <= Math.max(...places);
}

const runtime = await (async () => {
  const adapter = (await findAdapter(await nodeGpu()))!;
  return gpuRuntime({ env: { wasm: {} } } as never, await openDevice(adapter, { withSubgroups: false }));
})();
const wrong: string[] = [];
const refusals: string[] = [];
let [rows, near, worstLogprob] = [0, 0, 0];

function compare(row: Float32Array, draw: Draw, choice: Choice, twin: Chooser): void {
  const expected = twin.choose(row, draw);
  const what = `${row.length} tokens, ${JSON.stringify({ ...draw, history: [...draw.history.seen], allowed: draw.allowed?.length })}`;
  rows++;
  if (choice.token !== expected.token) {
    if (isNear(twin, row, draw, choice.token)) near++;
    else wrong.push(`${choice.token} instead of ${expected.token}: ${what}`);
  }
  const [got, wanted] = [choice.logprob, expected.logprob];
  if (got === undefined || wanted === undefined) {
    if (got !== wanted) wrong.push(`log-probabilities without having been asked for, or none: ${what}`);
    return;
  }
  if (got.top.map(({ token }) => token).join() !== wanted.top.map(({ token }) => token).join())
    wrong.push(`best ${JSON.stringify(got.top)} instead of ${JSON.stringify(wanted.top)}`);
  got.top.forEach(
    ({ logprob }, i) => (worstLogprob = Math.max(worstLogprob, Math.abs(logprob - wanted.top[i]!.logprob))),
  );
  if (choice.token === expected.token) worstLogprob = Math.max(worstLogprob, Math.abs(got.logprob - wanted.logprob));
}

async function choose(chooser: GpuChooser, batch: readonly Float32Array[], draws: readonly (Draw | undefined)[]) {
  const logits = new Float32Array(batch.flatMap((row) => [...row]));
  runtime.device.queue.writeBuffer(chooser.logits(batch.length), 0, logits);
  return chooser.choose(draws);
}

const [batches, ...vocabularies] = process.argv.slice(2).map(Number);
for (const [index, vocabulary] of vocabularies.entries()) {
  const chooser = await GpuChooser.create(runtime, vocabulary, index % 2 === 0);
  const twin = new Chooser(vocabulary);
  for (let i = 0; i < batches!; i++) {
    const batch = Array.from({ length: 1 + (i % ROWS_MAX) }, () => randomRow(vocabulary));
    const draws = batch.map(() => (chance() < 0.1 ? undefined : randomDraw(vocabulary)));
    const choices = await choose(chooser, batch, draws);
    draws.forEach((draw, row) => {
      const choice = choices[row];
      if (draw !== undefined && choice !== undefined) compare(batch[row]!, draw, choice, twin);
      else if (draw !== choice) wrong.push("a choice without a draw, or none");
    });
  }
  const good = randomRow(vocabulary);
  const plain: Draw = { sampling: GREEDY, history: { seen: new Set(), counts: new Map() }, uniform: 0, barred: [] };
  const refused = (batch: readonly Float32Array[], draw: Draw): Promise<unknown> =>
    choose(
      chooser,
      batch,
      batch.map(() => draw),
    ).then(
      () => wrong.push("what can't be chosen from was"),
      (error: unknown) => refusals.push(String(error)),
    );
  for (const value of [NaN, Infinity, -Infinity]) await refused([good, good.with(vocabulary - 1, value)], plain);
  await refused([new Float32Array(vocabulary).fill(3)], plain);
  await refused([good], { ...plain, allowed: new Int32Array(Math.ceil(vocabulary / 32)) });
  // Of a row that nobody asks of nothing is refused.
  const [ignored, chosen] = await choose(chooser, [good.with(0, NaN), good], [undefined, plain]);
  if (ignored !== undefined || chosen?.token !== twin.choose(good, plain).token) wrong.push("beside an unusable row");
  chooser.destroy();
}
console.log(JSON.stringify({ rows, near, wrong: wrong.slice(0, 5), worstLogprob, refusals } satisfies ChooserRun));
process.exit(0);
