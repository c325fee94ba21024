import { expect, test } from "vitest";
import { engineMetricsText } from "../../coordinator/engine-metrics.ts";
import { StatsCollector } from "../../engine/stats.ts";
import { parseToCoordinator } from "../../protocol/control.ts";

function stats() {
  const collector = new StatsCollector();
  collector.admitted(30, 12);
  collector.prefilled(18, 500);
  collector.firstToken(700);
  collector.decoded(40);
  collector.nextToken(45);
  collector.nextToken(99_000_000);
  collector.preempted();
  collector.finished("stop");
  return collector.read({ running: 1, waiting: 2, kvUsage: 0.25 });
}
const report = { model: 'a "b"', ...stats() };

test("what an engine tells passes the protocol as it is, and nothing else does", () => {
  const message = { type: "engines", replicas: [{ replica: "app#D#x", engines: [report] }] };
  expect(parseToCoordinator(JSON.stringify(message))).toEqual(message);
  const broken = (part: object): string =>
    JSON.stringify({ type: "engines", replicas: [{ replica: "r", engines: [{ ...report, ...part }] }] });
  for (const part of [
    { running: -1 },
    { running: "1" },
    { extra: 1 },
    { timeToFirstToken: { bounds: [1], counts: [1], sum: 0 } },
  ])
    expect(() => parseToCoordinator(broken(part))).toThrow();
});

const graph = {
  ...{ model: "e", kind: "graph" as const, running: 3, waiting: 4, promptTokens: 50, runs: 6, runMs: 700 },
  finished: { stop: 8, cancelled: 9 },
} as const;

test("of an encoder, what it has is told, and nothing of what it hasn't", () => {
  const message = { type: "engines", replicas: [{ replica: "app#E#x", engines: [graph, report] }] };
  expect(parseToCoordinator(JSON.stringify(message))).toEqual(message);
  const mixed = { type: "engines", replicas: [{ replica: "r", engines: [{ ...graph, kvUsage: 0 }] }] };
  expect(() => parseToCoordinator(JSON.stringify(mixed))).toThrow();
  const named = { application: "app", deployment: "E", replica: "app#E#x", engine: graph };
  const labels = `{application="app",deployment="E",replica="app#E#x",model_name="e"}`;
  const lines = engineMetricsText([named]).split("\n");
  expect(lines.filter((line) => !line.startsWith("#"))).toEqual([
    `skein_num_requests_running${labels} 3`,
    `skein_num_requests_waiting${labels} 4`,
    `skein_prompt_tokens_total${labels} 50`,
    `skein_graph_runs_total${labels} 6`,
    `skein_graph_run_seconds_total${labels} 0.7`,
    `skein_request_success_total${labels.slice(0, -1)},finished_reason="stop"} 8`,
    `skein_request_success_total${labels.slice(0, -1)},finished_reason="cancelled"} 9`,
    "",
  ]);
  // A name's help comes with numbers of it.
  for (const [at, line] of lines.entries()) if (line.startsWith("# TYPE")) expect(lines[at + 1]).toMatch(/^skein_/);
  const both = engineMetricsText([{ ...named, engine: report }, named]);
  expect(both.match(/# TYPE skein_num_requests_running/g)).toHaveLength(1);
  expect(both).toContain(`skein_graph_runs_total${labels} 6`);
});

test("is Prometheus text under vLLM's names, histograms cumulative, labels escaped", () => {
  expect(engineMetricsText([])).toBe("");
  const text = engineMetricsText([{ application: "app", deployment: "D", replica: "app#D#x", engine: report }]);
  const labels = String.raw`application="app",deployment="D",replica="app#D#x",model_name="a \"b\""`;
  for (const line of [
    `skein_num_requests_running{${labels}} 1`,
    `skein_num_requests_waiting{${labels}} 2`,
    `skein_kv_cache_usage_perc{${labels}} 0.25`,
    `skein_prefix_cache_queries_total{${labels}} 30`,
    `skein_prefix_cache_hits_total{${labels}} 12`,
    `skein_generation_tokens_total{${labels}} 3`,
    `skein_prefill_seconds_total{${labels}} 0.5`,
    `skein_request_success_total{${labels},finished_reason="stop"} 1`,
    `skein_time_to_first_token_seconds_bucket{${labels},le="0.5"} 0`,
    `skein_time_to_first_token_seconds_bucket{${labels},le="0.75"} 1`,
    `skein_inter_token_latency_seconds_bucket{${labels},le="80"} 1`,
    `skein_inter_token_latency_seconds_bucket{${labels},le="+Inf"} 2`,
    `skein_inter_token_latency_seconds_count{${labels}} 2`,
    "# TYPE skein_time_to_first_token_seconds histogram",
  ])
    expect(text.split("\n")).toContain(line);
});
