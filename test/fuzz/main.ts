/**
 * `npm run fuzz`: 1,000,000 seeded malformed messages against both ends of a link and both parsers in memory, then against each port of
 * real processes as many as three minutes allow, and the smuggling corpus. Nothing may crash, memory may grow by 64 MiB, a good request in
 * every 1,000 must succeed. SKEIN_FUZZ_MESSAGES, SKEIN_FUZZ_PROCESS_MESSAGES (per door) and SKEIN_FUZZ_SEED change what is run.
 */
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { seededRandom } from "../support/random.ts";
import { MemoryWatch, MIB, residentOf } from "../system/memory.ts";
import { attackLink, attackParsers, goodRequest } from "./in-memory.ts";
import { attack, besieged, smuggled, type Doors } from "./processes.ts";

const MESSAGES = Number(process.env["SKEIN_FUZZ_MESSAGES"] ?? 1_000_000);
const PER_DOOR = Number(process.env["SKEIN_FUZZ_PROCESS_MESSAGES"] ?? 200_000);
/** A door is left after this long, ms, with what was sent until then: a slow neighbour makes the run smaller, not longer. */
const DOOR_MS = 160_000;
/** Messages at a door, good ones among them, before memory counts; where they take longer, half of the time. */
const WARM_UP = Math.min(20_000, PER_DOOR / 2);
const SEED = Number(process.env["SKEIN_FUZZ_SEED"] ?? 20_261_123);
const GOOD_EVERY = 1_000;
const GROWTH_MAX_MIB = 64;
/** Good requests between two looks at memory. */
const COLLECT_EVERY = 10;
/** Share of the run after which memory is looked at first: code, pools and caches fill before it. */
const WARM = 0.2;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;
const random = seededRandom(SEED);
const problems: string[] = [];
const check = (holds: boolean, what: string): void => {
  if (!holds) problems.push(what);
};

function inMemory(name: string, once: () => number, good: () => boolean): void {
  const started = Date.now();
  let sent = 0;
  let next = 0;
  let before: number | null = null;
  let highest = 0;
  while (sent < MESSAGES) {
    sent += once();
    if (sent < next) continue;
    next += GOOD_EVERY;
    check(good(), `${name}: a good request failed after ${sent} messages`);
    if (sent < MESSAGES * WARM || (next / GOOD_EVERY) % COLLECT_EVERY !== 0) continue;
    // Without what the next collection would take: a leak is what stays.
    collect();
    before ??= residentOf(process.pid);
    highest = Math.max(highest, residentOf(process.pid));
  }
  report(name, sent, started, (highest - (before ?? highest)) / MIB);
}

function report(name: string, sent: number, started: number, growth: number): void {
  check(growth <= GROWTH_MAX_MIB, `${name}: memory grew by ${growth.toFixed(1)} MiB`);
  console.log(
    `${name.padEnd(28)} ${String(sent).padStart(9)} messages  ${((Date.now() - started) / 1000).toFixed(1).padStart(6)} s  memory +${growth.toFixed(1)} MiB`,
  );
}

console.log(`Seed ${SEED}.`);
inMemory(
  "links in memory",
  () => attackLink(random).sent,
  () => goodRequest() === "good.",
);
inMemory(
  "control messages in memory",
  () => (attackParsers(random), 2),
  () => goodRequest() === "good.",
);

const { mesh, at } = await besieged(fileURLToPath(new URL("../system/apps", import.meta.url)));
try {
  const pids = [...mesh.processes().keys()];
  for (const door of Object.keys(at) as (keyof Doors)[]) {
    const started = Date.now();
    const watch = new MemoryWatch(mesh);
    let sent = 0;
    let isWarm = false;
    while (sent < PER_DOOR && Date.now() - started < DOOR_MS) {
      sent += await attack(door, at, Math.min(GOOD_EVERY, PER_DOOR), random);
      check(
        (await mesh.fetch("/?id=good", { base: at.client })).status === 200,
        `${door}: a good request failed after ${sent} messages`,
      );
      check(
        (await mesh.api("GET", "/api/serve/applications/")).status === 200,
        `${door}: the coordinator did not answer after ${sent} messages`,
      );
      if (!isWarm && (sent >= WARM_UP || Date.now() - started > DOOR_MS / 2)) {
        isWarm = true;
        watch.warm();
      }
    }
    report(`${door} of real processes`, sent, started, watch.stop());
  }
  for (const rest of await smuggled(at.client)) check(false, `a hidden request was seen after ${JSON.stringify(rest)}`);
  check(
    pids.every((pid) => mesh.processes().has(pid)),
    "a process has died",
  );
} finally {
  await mesh.stop();
}
for (const problem of problems) console.error(problem);
console.log(
  problems.length === 0
    ? "Nothing crashed, memory stayed, every good request succeeded."
    : `${problems.length} problems.`,
);
process.exit(problems.length === 0 ? 0 : 1);
