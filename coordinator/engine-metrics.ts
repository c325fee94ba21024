/**
 * What engines report, as Prometheus text under vLLM's names with our prefix. Labels are names of deployments, replicas and models, all
 * from the coordinator's own state but the last, which is bounded by ENGINES_MAX.
 */
import type { EngineReport } from "../protocol/engine-stats.ts";

export interface EngineOfReplica {
  readonly application: string;
  readonly deployment: string;
  readonly replica: string;
  readonly engine: EngineReport;
}

interface Metric {
  readonly name: string;
  readonly type: "gauge" | "counter";
  readonly help: string;
  /** Undefined: engines of this kind have none. */
  value(engine: EngineReport): number | undefined;
}

type Decoder = Exclude<EngineReport, { kind: "graph" }>;
type Graph = Extract<EngineReport, { kind: "graph" }>;

const ofDecoders = (value: (decoder: Decoder) => number) => (engine: EngineReport) =>
  "kind" in engine ? undefined : value(engine);
const ofGraphs = (value: (graph: Graph) => number) => (engine: EngineReport) =>
  "kind" in engine ? value(engine) : undefined;

const METRICS: readonly Metric[] = [
  {
    name: "num_requests_running",
    type: "gauge",
    help: "Generations that hold a slot, or calls of the run under way.",
    value: (e) => e.running,
  },
  {
    name: "num_requests_waiting",
    type: "gauge",
    help: "Generations that wait for a slot, or calls for a run.",
    value: (e) => e.waiting,
  },
  {
    name: "kv_cache_usage_perc",
    type: "gauge",
    help: "Part of the KV cache in use, 0 to 1.",
    value: ofDecoders((e) => e.kvUsage),
  },
  {
    name: "num_preemptions_total",
    type: "counter",
    help: "Slots taken from one for another.",
    value: ofDecoders((e) => e.preemptions),
  },
  { name: "prompt_tokens_total", type: "counter", help: "Tokens of prompts.", value: (e) => e.promptTokens },
  {
    name: "generation_tokens_total",
    type: "counter",
    help: "Tokens generated.",
    value: ofDecoders((e) => e.generatedTokens),
  },
  {
    name: "prefix_cache_queries_total",
    type: "counter",
    help: "Tokens looked up in the prefix cache.",
    value: ofDecoders((e) => e.promptTokens),
  },
  {
    name: "prefix_cache_hits_total",
    type: "counter",
    help: "Tokens found in the prefix cache.",
    value: ofDecoders((e) => e.cachedPromptTokens),
  },
  {
    name: "prefill_tokens_total",
    type: "counter",
    help: "Tokens of prompts that were computed.",
    value: ofDecoders((e) => e.prefillTokens),
  },
  {
    name: "prefill_seconds_total",
    type: "counter",
    help: "Time spent computing prompts.",
    value: ofDecoders((e) => e.prefillMs / 1_000),
  },
  { name: "decode_steps_total", type: "counter", help: "Decode steps.", value: ofDecoders((e) => e.decodeSteps) },
  {
    name: "decode_seconds_total",
    type: "counter",
    help: "Time spent in decode steps.",
    value: ofDecoders((e) => e.decodeMs / 1_000),
  },
  { name: "graph_runs_total", type: "counter", help: "Runs of encoders and graphs.", value: ofGraphs((e) => e.runs) },
  {
    name: "graph_run_seconds_total",
    type: "counter",
    help: "Time spent in runs of encoders and graphs.",
    value: ofGraphs((e) => e.runMs / 1_000),
  },
];
const HISTOGRAMS = [
  {
    name: "time_to_first_token_seconds",
    help: "From a request at the engine to its first token.",
    of: (e: Decoder) => e.timeToFirstToken,
  },
  {
    name: "inter_token_latency_seconds",
    help: "Between two tokens of one answer.",
    of: (e: Decoder) => e.interTokenLatency,
  },
] as const;

/** "" where no engine has reported. */
export function engineMetricsText(engines: readonly EngineOfReplica[]): string {
  if (engines.length === 0) return "";
  const lines: string[] = [];
  const head = (name: string, type: string, help: string): void =>
    void lines.push(`# HELP skein_${name} ${help}`, `# TYPE skein_${name} ${type}`);
  for (const { name, type, help, value } of METRICS) {
    const values = engines.map((one) => [one, value(one.engine)] as const).filter(([, given]) => given !== undefined);
    if (values.length > 0) head(name, type, help);
    for (const [one, given] of values) lines.push(`skein_${name}${labelsOf(one)} ${given}`);
  }
  head("request_success_total", "counter", "Generations or calls that ended, by reason.");
  for (const one of engines)
    for (const [reason, ended] of Object.entries(one.engine.finished))
      lines.push(`skein_request_success_total${labelsOf(one, { finished_reason: reason })} ${ended}`);
  const decoders = engines.flatMap((one) => ("kind" in one.engine ? [] : [{ ...one, engine: one.engine }]));
  for (const { name, help, of } of decoders.length === 0 ? [] : HISTOGRAMS) {
    head(name, "histogram", help);
    for (const one of decoders) {
      const { bounds, counts, sum } = of(one.engine);
      let total = 0;
      counts.forEach((cell, i) => {
        total += cell;
        lines.push(
          `skein_${name}_bucket${labelsOf(one, { le: i < bounds.length ? String(bounds[i]) : "+Inf" })} ${total}`,
        );
      });
      lines.push(`skein_${name}_sum${labelsOf(one)} ${sum}`, `skein_${name}_count${labelsOf(one)} ${total}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

function labelsOf(
  { application, deployment, replica, engine }: EngineOfReplica,
  more: Record<string, string> = {},
): string {
  const labels = { application, deployment, replica, model_name: engine.model, ...more };
  const escape = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  return `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${escape(value)}"`)
    .join(",")}}`;
}
