/**
 * `npm run chaos`: every target, fault and activity, 20 rounds each, on one mesh of real processes; prints a table.
 * SKEIN_CHAOS_ROUNDS, and words on the command line (replica kill unary ...), make it smaller. Exit code 1 when something failed that must not.
 */
import { fileURLToPath } from "node:url";
import { SystemMesh } from "../system/mesh.ts";
import { ACTIVITIES } from "./load.ts";
import { deployed, FAULTS, round, TARGETS, type Round } from "./round.ts";

const ROUNDS = Number(process.env["SKEIN_CHAOS_ROUNDS"] ?? 20);
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

const mesh = await SystemMesh.start({
  workers: 2,
  appDir: fileURLToPath(new URL("../system/apps", import.meta.url)),
  compiled: true,
});
let bad = 0;
try {
  let base = await deployed(mesh);
  // As many processes as a whole mesh has: more of them are orphans.
  const processes = mesh.processes().size;
  console.log(
    "target       fault  activity  rounds  requests  failed  excused  answered ms (p50/max)  whole ms (p50/max)  slowest ms  orphans  same pids",
  );
  for (const target of chosen(TARGETS))
    for (const fault of chosen(FAULTS))
      for (const activity of chosen(ACTIVITIES)) {
        const rounds: Round[] = [];
        for (let i = 0; i < ROUNDS; i += 1) {
          rounds.push(await round(mesh, base, target, fault, activity));
          base = await mesh.clientUrl();
        }
        await new Promise((resolve) => setTimeout(resolve, 500));
        const orphans = mesh.processes().size - processes;
        const failed = rounds.flatMap((r) => r.failed);
        const samePids = rounds.every((r) => r.samePids);
        if (failed.length > 0 || orphans > 0 || !samePids) bad += 1;
        const sum = (of: (r: Round) => number): string => String(rounds.reduce((total, r) => total + of(r), 0));
        const spread = (of: (r: Round) => number): string => {
          const sorted = rounds.map(of).sort((a, b) => a - b);
          return `${sorted[Math.floor(sorted.length / 2)]}/${sorted.at(-1)}`;
        };
        console.log(
          [
            target.padEnd(12),
            fault.padEnd(6),
            activity.padEnd(9),
            String(ROUNDS).padStart(6),
            sum((r) => r.requests).padStart(9),
            String(failed.length).padStart(7),
            sum((r) => r.excused.length).padStart(8),
            spread((r) => r.answeredMs).padStart(22),
            spread((r) => r.wholeMs).padStart(19),
            String(Math.max(...rounds.map((r) => r.slowestMs))).padStart(11),
            String(orphans).padStart(8),
            (samePids ? "yes" : "NO").padStart(10),
          ].join(" "),
        );
        const reasons = new Map<string, number>();
        for (const { method, wrong } of failed)
          reasons.set(`${method}: ${wrong}`, (reasons.get(`${method}: ${wrong}`) ?? 0) + 1);
        for (const [reason, times] of reasons) console.log(`    ${times} x ${reason}`);
      }
} finally {
  // Throws when a process or a port is left.
  await mesh.stop();
}
console.log(
  bad === 0 ? "No process and no port is left; nothing failed that must not." : `${bad} lines have failures.`,
);
process.exit(bad === 0 ? 0 : 1);
