/** `skein bench <model>`: how fast a model is on this machine, on each provider that it has. Each is measured in a process of its own. */
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { EXIT } from "../../protocol/errors.ts";
import type { Measured } from "../../worker/node/bench-main.ts";
import { ENGINE_ENVIRONMENT } from "../../worker/node/engine-environment.ts";
import { dataDirOf } from "../connect.ts";
import { Interrupted } from "../failure.ts";
import type { Shell } from "../shell.ts";
import { table } from "../table.ts";

const PROGRAM = fileURLToPath(new URL("../../worker/node/bench-main.ts", import.meta.url));
const PROVIDERS = ["webgpu", "native", "wasm"] as const;
/** Characters kept of what a failed measurement said last. */
const LAST_WORDS_MAX = 300;

export interface BenchFlags {
  readonly dataDir?: string;
  readonly device?: (typeof PROVIDERS)[number] | "auto";
  readonly threads?: number;
  readonly allowSoftwareGpu?: boolean;
  readonly short?: boolean;
  readonly json?: boolean;
}

type Outcome = Measured | { readonly provider: string; readonly trouble: string };

export async function bench(model: string, flags: BenchFlags, shell: Shell): Promise<number> {
  const { device = "auto", threads = availableParallelism() } = flags;
  const outcomes: Outcome[] = [];
  for (const provider of device === "auto" ? PROVIDERS : [device]) {
    const args = [
      model,
      provider,
      String(threads),
      dataDirOf(flags, shell),
      flags.allowSoftwareGpu === true ? "1" : "0",
      flags.short === true ? "1" : "0",
    ];
    outcomes.push(await measure(provider, args, shell));
    if (shell.stop.aborted) throw new Interrupted();
  }
  shell.progress.clear();
  shell.out(flags.json === true ? `${JSON.stringify(outcomes, null, 2)}\n` : benchText(outcomes));
  return outcomes.some((outcome) => "figures" in outcome) ? EXIT.ok : EXIT.failed;
}

/** Never rejects: what can't be measured is an outcome with a reason. */
function measure(provider: string, args: readonly string[], shell: Shell): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      signal: shell.stop,
      env: { ...shell.env, ...ENGINE_ENVIRONMENT },
    });
    let said = "";
    let result = "";
    createInterface(child.stderr).on("line", (line) => {
      said = line;
      shell.progress.show(`${provider}: ${line}`);
    });
    createInterface(child.stdout).on("line", (line) => void (line !== "" && (result = line)));
    child.once("error", (error) => (said = error.message));
    child.once("close", (code) =>
      resolve(
        code === 0 && result.startsWith("{")
          ? (JSON.parse(result) as Measured)
          : { provider, trouble: said.slice(0, LAST_WORDS_MAX) || `ended with code ${code}` },
      ),
    );
  });
}

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

const ROWS: readonly (readonly [string, (measured: Measured) => string])[] = [
  ["one chat, tokens/s", ({ figures }) => figures.tokensPerSecond.toFixed(1)],
  ["8 chats together, tokens/s", ({ figures }) => figures.tokensPerSecondAt8.toFixed(1)],
  ["prompt of 256 tokens, ms", ({ figures }) => figures.prefill256Ms.toFixed(0)],
  ["prompts, tokens/s", ({ figures }) => (256_000 / figures.prefill256Ms).toFixed(0)],
  ["first token behind 300, ms", ({ figures }) => figures.coldTurnMs.toFixed(0)],
  ["first token of a second turn, ms", ({ figures }) => figures.secondTurnMs.toFixed(0)],
  ["  of its prompt in the cache", ({ figures }) => percent(figures.secondTurnCached)],
  ["32 chats at random: failed", ({ figures }) => String(figures.crowdFailed)],
  ["  tokens/s", ({ figures }) => figures.crowdTokensPerSecond.toFixed(1)],
  [
    "  gap between tokens p50/p99, ms",
    ({ figures }) => `${figures.crowdGapP50Ms.toFixed(0)}/${figures.crowdGapP99Ms.toFixed(0)}`,
  ],
  [
    "  two steps and a share of prompts, ms",
    ({ figures }) => (2 * figures.crowdStepMs + figures.crowdChunkMs).toFixed(0),
  ],
  ["  first token p99, ms", ({ figures }) => figures.crowdFirstTokenP99Ms.toFixed(0)],
  ["  running/waiting at most", ({ figures }) => `${figures.crowdRunningMost}/${figures.crowdWaitingMost}`],
  ["  keys and values in use at most", ({ figures }) => percent(figures.crowdKvUsageMost)],
  ["conversion at the first use, ms", ({ coldConversionMs }) => coldConversionMs.toFixed(0)],
  ["start to first token after it, ms", ({ startMs }) => startMs.toFixed(0)],
  ["resident memory, MiB", ({ rssMb }) => rssMb.toFixed(0)],
  ["  over weights, keys and values", ({ rssOver }) => (rssOver === null ? "-" : percent(rssOver))],
];

/** Pure: what is printed. */
export function benchText(outcomes: readonly Outcome[]): string {
  const measured = outcomes.filter((outcome) => "figures" in outcome);
  const troubles = outcomes.flatMap((outcome) =>
    "trouble" in outcome ? [`${outcome.provider}: ${outcome.trouble}\n`] : [],
  );
  const figures =
    measured.length === 0
      ? ""
      : table(
          ["", ...measured.map(({ provider }) => provider)],
          ROWS.map(([title, value]) => [title, ...measured.map(value)]),
        );
  return figures + troubles.join("");
}
