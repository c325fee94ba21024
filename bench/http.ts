/**
 * What the ingress costs: a noop behind ingress and link against bare node:http, in one run, interleaved; then streams.
 *   node bench/http.ts [--short] [--json]
 * The replica has no user code: this is the data plane alone. SKEIN_BENCH_PROFILE=<dir> writes a CPU profile of the ingress.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { machineFacts } from "./machine-facts.ts";
import { generator, quantile, streams, unary, type UnaryResult } from "./http-load.ts";
import { startBaseline, startMesh } from "./http-mesh.ts";

const { values } = parseArgs({
  options: { short: { type: "boolean", default: false }, json: { type: "boolean", default: false } },
});
const rounds = values.short ? 1 : 5;
const seconds = values.short ? 1 : 3;
const median = (numbers: readonly number[]): number => quantile(numbers, 0.5);
const middle = (results: readonly UnaryResult[]): UnaryResult => ({
  perSecond: median(results.map((r) => r.perSecond)),
  p50: median(results.map((r) => r.p50)),
  p99: median(results.map((r) => r.p99)),
});

const baseline = await startBaseline();
const mesh = await startMesh();
const results: Record<string, unknown> = { facts: machineFacts(), generator };
try {
  for (const port of [baseline.port, mesh.port]) await unary(port, 8, 1);
  for (const clients of values.short ? [1, 32] : [1, 8, 32, 128]) {
    const bare: UnaryResult[] = [];
    const ours: UnaryResult[] = [];
    const cpu: number[] = [];
    for (let i = 0; i < rounds; i++) {
      bare.push(await unary(baseline.port, clients, seconds));
      const before = cpuMs(mesh.pid);
      const result = await unary(mesh.port, clients, seconds);
      ours.push(result);
      cpu.push(((cpuMs(mesh.pid) - before) * 1000) / (result.perSecond * seconds));
    }
    const [b, o] = [middle(bare), middle(ours)];
    results[`unary, ${clients} clients`] = {
      bare: b,
      ingress: o,
      ratio: o.perSecond / b.perSecond,
      p50Added: o.p50 - b.p50,
      ingressCpuMicros: median(cpu),
    };
  }
  for (const count of [1, 8]) {
    const perSecond = async (port: number): Promise<number> =>
      median(
        await sequence(rounds + 2, async () => (await streams(port, count, values.short ? 1_000 : 5_000, 0)).perSecond),
      );
    results[`stream, ${count} at once, chunks/s`] = {
      bare: await perSecond(baseline.port),
      ingress: await perSecond(mesh.port),
    };
  }
  for (const [name, port] of [
    ["bare", baseline.port],
    ["ingress", mesh.port],
  ] as const) {
    const paced = await streams(port, 32, values.short ? 50 : 200, 10);
    const first = (await sequence(values.short ? 20 : 100, () => streams(port, 1, 1, 0))).flatMap((r) => r.firstChunk);
    results[`delays ${name}, ms`] = {
      chunkP50: quantile(paced.delays, 0.5),
      chunkP99: quantile(paced.delays, 0.99),
      firstChunkP50: quantile(first, 0.5),
    };
  }
} finally {
  baseline.stop();
  mesh.stop();
}

if (values.json) console.log(JSON.stringify(results));
else
  for (const [name, value] of Object.entries(results))
    console.log(
      `${name.padEnd(32)} ${typeof value === "string" ? value : JSON.stringify(value, (_k, v: unknown) => (typeof v === "number" ? Number(v.toPrecision(4)) : v))}`,
    );

/** Processor time that a process has used, ms: unlike a rate it says something on a busy machine too. Linux only. */
function cpuMs(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return Number.NaN;
  }
}

async function sequence<T>(times: number, run: () => Promise<T>): Promise<T[]> {
  const all: T[] = [];
  for (let i = 0; i < times; i++) all.push(await run());
  return all;
}
