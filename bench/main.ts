/**
 * All benches, one after the other: `npm run bench [-- --short] [-- --json] [mesh|http|chat|engine ...]`.
 * Prints what each prints, and keeps the figures under bench/results/ (one file for each run, `*.local.json`, not in git). No figure
 * makes it fail: a figure belongs to the machine that it was measured on.
 */
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";

const BENCHES = ["mesh", "http", "chat", "engine"] as const;
const RESULTS = fileURLToPath(new URL("results/", import.meta.url));
/** The longest takes some minutes, ms. */
const BENCH_WITHIN_MS = 30 * 60_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { short: { type: "boolean", default: false }, json: { type: "boolean", default: false } },
});
const unknown = positionals.find((name) => !(BENCHES as readonly string[]).includes(name));
if (unknown !== undefined) {
  console.error(`No bench is called "${unknown}": ${BENCHES.join(", ")}.`);
  process.exit(2);
}

const results: Record<string, unknown> = {};
for (const name of positionals.length > 0 ? positionals : BENCHES) {
  if (!values.json) console.error(`bench ${name} ...`);
  const program = fileURLToPath(new URL(`${name}.ts`, import.meta.url));
  try {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [program, "--json", ...(values.short ? ["--short"] : [])],
      {
        timeout: BENCH_WITHIN_MS,
        maxBuffer: 16 * 1024 * 1024,
      },
    );
    results[name] = JSON.parse(stdout) as unknown;
    if (!values.json) show(results[name], "  ");
  } catch (error) {
    process.exitCode = 1;
    results[name] = { error: error instanceof Error ? error.message : String(error) };
    console.error(`bench ${name} failed: ${String((results[name] as { error: string }).error)}`);
  }
}
mkdirSync(RESULTS, { recursive: true });
const file = join(
  RESULTS,
  `${new Date().toISOString().replaceAll(":", "-")}${values.short ? "-short" : ""}.local.json`,
);
writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
if (values.json) console.log(JSON.stringify(results));
else console.error(`Kept in ${file}.`);

/** One line for each thing that has figures. */
function show(value: unknown, indent: string): void {
  if (typeof value !== "object" || value === null) return void console.log(`${indent}${String(value)}`);
  for (const [key, inner] of Object.entries(value)) {
    if (Array.isArray(inner)) {
      console.log(`${indent}${key}`);
      for (const one of inner as unknown[]) console.log(`${indent}  ${line(one)}`);
    } else console.log(`${indent}${key.padEnd(28)} ${line(inner)}`);
  }
}

function line(value: unknown): string {
  const short = (inner: unknown): string =>
    typeof inner === "number"
      ? String(Number(inner.toPrecision(4)))
      : typeof inner === "object"
        ? line(inner)
        : String(inner);
  if (typeof value !== "object" || value === null) return short(value);
  return Object.entries(value)
    .map(([key, inner]) => `${key} ${short(inner)}`)
    .join(", ");
}
