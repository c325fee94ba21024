/**
 * `npm run chaos`: every target, fault and activity, 20 rounds each, on one mesh of real processes; prints a table.
 * SKEIN_CHAOS_ROUNDS, and words on the command line (replica kill unary ...), make it smaller. Exit code 1 when something failed that must not.
 */
import { fileURLToPath } from "node:url";
import { SystemMesh } from "../system/mesh.ts";
import { ACTIVITIES, type Activity } from "./load.ts";
import { Observer } from "./observer.ts";
import { listeningPorts } from "./ports.ts";
import { deployed, round, type Round } from "./round.ts";
import { FAULTS, TARGETS, type Fault, type Target } from "./verdict.ts";

const ROUNDS = Number(process.env["SKEIN_CHAOS_ROUNDS"] ?? 20);
/** A light class answers again within this after something was killed, ms, and half-open links are noticed. */
const BACK_MS = 2_000;
const NOTICED_MS = 5_000;
/** Time is judged by the middle of this many rounds or more: others use the machine, too. */
const TIMED_ROUNDS_MIN = 10;
/** What was killed, and what it had, is gone from the kernel's tables after this, ms. */
const SETTLED_MS = 500;

const words = process.argv.slice(2);
const chosen = <T extends string>(all: readonly T[]): readonly T[] => {
  const some = all.filter((word) => words.includes(word));
  return some.length > 0 ? some : all;
};
const unknown = words.filter((word) => ![...TARGETS, ...FAULTS, ...ACTIVITIES].includes(word as never));
if (unknown.length > 0) {
  console.error(`Unknown: ${unknown.join(" ")}. Known are ${[...TARGETS, ...FAULTS, ...ACTIVITIES].join(" ")}.`);
  process.exit(2);
}

const COLUMNS = [
  ["target", -12],
  ["fault", -6],
  ["activity", -9],
  ["rounds", 6],
  ["requests", 9],
  ["failed", 7],
  ["excused", 8],
  ["answered ms (p50/max)", 22],
  ["whole ms (p50/max)", 19],
  ["slowest ms (p50/max)", 21],
  ["orphans", 8],
  ["ports", 6],
  ["same pids", 10],
] as const;
const row = (cells: readonly string[]): string =>
  cells.map((cell, i) => (COLUMNS[i]![1] < 0 ? cell.padEnd(-COLUMNS[i]![1]) : cell.padStart(COLUMNS[i]![1]))).join(" ");

const observer = await Observer.start();
const mesh = await SystemMesh.start({
  workers: 2,
  appDir: fileURLToPath(new URL("../system/apps", import.meta.url)),
  compiled: true,
});
const has = (): { processes: number; ports: number } => {
  const pids = [...mesh.processes().keys()];
  return { processes: pids.length, ports: listeningPorts(pids).size };
};

/** One line of the table, and below it what must not be. Returns whether there is nothing. */
function tell(
  cell: readonly [Target, Fault, Activity],
  rounds: readonly Round[],
  left: ReturnType<typeof has>,
): boolean {
  const [target, fault, activity] = cell;
  const sum = (of: (r: Round) => number): string => String(rounds.reduce((total, r) => total + of(r), 0));
  const middle = (of: (r: Round) => number): number => rounds.map(of).sort((a, b) => a - b)[rounds.length >> 1] ?? 0;
  const spread = (of: (r: Round) => number): string => `${middle(of)}/${Math.max(...rounds.map(of))}`;
  const samePids = rounds.every((r) => r.samePids);
  const failed = rounds.flatMap((r) => r.failed);
  console.log(
    row([
      ...cell,
      String(rounds.length),
      sum((r) => r.requests),
      String(failed.length),
      sum((r) => r.excused.length),
      spread((r) => r.answeredMs),
      spread((r) => r.wholeMs),
      spread((r) => r.slowestMs),
      String(left.processes),
      String(left.ports),
      samePids ? "yes" : "NO",
    ]),
  );
  const wrong = new Map<string, number>();
  for (const { kind, wrong: what } of failed) wrong.set(`${kind}: ${what}`, (wrong.get(`${kind}: ${what}`) ?? 0) + 1);
  const bad = [...wrong].map(([what, times]) => `${times} x ${what}`);
  if (left.processes !== 0 || left.ports !== 0) bad.push("processes or ports are left, or missing");
  if (!samePids) bad.push("a replica that nothing was done to has another pid");
  if (target === "coordinator" && activity !== "idle" && rounds.some((r) => r.meanwhile === 0))
    bad.push("no request flowed while the coordinator was away");
  const late = (of: (r: Round) => number, boundMs: number): boolean =>
    rounds.length >= TIMED_ROUNDS_MIN && middle(of) > boundMs;
  if (fault === "kill" && late((r) => r.answeredMs, BACK_MS)) bad.push(`not answered again within ${BACK_MS} ms`);
  if (fault === "kill" && target === "replica" && late((r) => r.wholeMs, BACK_MS))
    bad.push(`a light class is not back within ${BACK_MS} ms`);
  if (fault === "stop" && target === "replica" && late((r) => r.slowestMs, NOTICED_MS))
    bad.push(`a frozen replica is not noticed within ${NOTICED_MS} ms`);
  for (const line of bad) console.log(`    ${line}`);
  return bad.length === 0;
}

let bad = 0;
const startedAt = Date.now();
try {
  let base = await deployed(mesh, observer);
  const before = has();
  console.log(row(COLUMNS.map(([name]) => name)));
  for (const target of chosen(TARGETS))
    for (const fault of chosen(FAULTS))
      for (const activity of chosen(ACTIVITIES)) {
        const rounds: Round[] = [];
        for (let i = 0; i < ROUNDS; i += 1) {
          rounds.push(await round(mesh, observer, base, target, fault, activity));
          base = await mesh.clientUrl();
        }
        await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
        const now = has();
        const left = { processes: now.processes - before.processes, ports: now.ports - before.ports };
        if (!tell([target, fault, activity], rounds, left)) bad += 1;
      }
} finally {
  // Throws when a process or a port is left.
  await mesh.stop();
  observer.close();
}
const minutes = ((Date.now() - startedAt) / 60_000).toFixed(1);
console.log(
  bad === 0
    ? `No process and no port is left; nothing failed that must not. ${minutes} minutes.`
    : `${bad} lines have failures. ${minutes} minutes.`,
);
process.exit(bad === 0 ? 0 : 1);
