/**
 * Runs seeds from the command line: `node test/sim/run-main.ts --seeds 1000 --from 1`. Prints what fails with its options, and exits 1.
 * `--bank` finds the first seed that catches each bug of the bank (`--bug <name>`: of one). `--trace N` prints the last N steps of a seed that fails; `--json` one result a line.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { BANK } from "../bugs/bank.ts";
import { runSeed } from "./world.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "200" },
    from: { type: "string", default: "1" },
    trace: { type: "string", default: "0" },
    json: { type: "boolean", default: false },
    first: { type: "boolean", default: false },
    bank: { type: "boolean", default: false },
    bug: { type: "string" },
  },
});
if (values.bank || values.bug !== undefined) process.exit(bank(values.bug));
const from = Number(values.from);
const startedAt = performance.now();
let failed = 0;
let steps = 0;
let virtualMs = 0;
for (let seed = from; seed < from + Number(values.seeds); seed += 1) {
  const result = await runSeed(seed, { first: true, keptLines: Number(values.trace) });
  steps += result.steps;
  virtualMs += result.virtualMs;
  const { lines, ...rest } = result;
  if (values.json) console.log(JSON.stringify(rest));
  if (result.violations.length === 0) continue;
  failed += 1;
  if (!values.json) {
    for (const line of lines.slice(-Number(values.trace))) console.log(line);
    console.log(`seed ${seed}: ${JSON.stringify(result.options)}\n  ${result.violations.join("\n  ")}`);
  }
  if (values.first) break;
}
const seconds = (performance.now() - startedAt) / 1000;
if (!values.json)
  console.log(
    `${values.seeds} seeds from ${from}: ${failed} failed. ${steps} steps, ${(virtualMs / 1000).toFixed(0)} s of virtual time in ${seconds.toFixed(1)} s.`,
  );
process.exitCode = failed === 0 ? 0 : 1;

/** Each bug in a process of its own. Returns the number of bugs that no seed caught. */
function bank(only: string | undefined): number {
  const program = fileURLToPath(new URL("../bugs/bug-main.ts", import.meta.url));
  let missed = 0;
  for (const { name } of BANK.filter((bug) => only === undefined || bug.name === only)) {
    const { stdout, stderr } = spawnSync(process.execPath, [program, name], { encoding: "utf8" });
    const result =
      stdout === ""
        ? null
        : (JSON.parse(stdout.trim().split("\n").at(-1)!) as { caught: { seed: number; violation: string } | null });
    if (result?.caught == null) missed += 1;
    console.log(
      result === null
        ? `${name}: ${
            stderr
              .trim()
              .split("\n")
              .find((line) => line.includes("Error")) ?? stderr
          }`
        : result.caught === null
          ? `${name}: NOT CAUGHT`
          : `${name}: seed ${result.caught.seed}: ${result.caught.violation.slice(0, 150)}`,
    );
  }
  return missed;
}
