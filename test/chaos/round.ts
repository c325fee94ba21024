/**
 * One round: something is killed or frozen while clients ask; what failed, how long it took, whether everything is as it was.
 * Two workers with a replica each. The ingress is on the first; the agent that dies is that of the second.
 */
import { eventually, type SystemMesh } from "../system/mesh.ts";
import { ask, Load, type Activity, type Outcome } from "./load.ts";
import type { Observer } from "./observer.ts";
import { EXCUSED, verdict, type Fault, type Harm, type Target } from "./verdict.ts";

/** Clients ask this long before the fault, and after all is well again, ms. */
const BEFORE_MS = 300;
/**
 * What is frozen stays so for this long, ms: longer than half-open links may live (5 s), shorter than a lost worker's replicas (9 s)
 * and than what hangs may (8 s).
 */
const FROZEN_MS = 6_000;
const RECOVERED_WITHIN_MS = 60_000;

export interface Round {
  readonly requests: number;
  /** What the design doesn't allow: lost, changed, cut, or run too often. `wrong` says what. */
  readonly failed: readonly Outcome[];
  /** Nothing could save them: refused or cut for want of an ingress, cut in an answer, or not safe to run twice. */
  readonly excused: readonly Outcome[];
  /** Until a request was answered again, ms. */
  readonly answeredMs: number;
  /** Until the mesh was whole again, ms: for a frozen one after it went on. */
  readonly wholeMs: number;
  /** The longest that any request waited, ms. */
  readonly slowestMs: number;
  /** Good answers that came while it was away. */
  readonly meanwhile: number;
  /** Replicas that survived have the same pids. */
  readonly samePids: boolean;
}

/** Two workers' mesh with the application that tells the observer of its runs; returns where clients reach it. */
export async function deployed(mesh: SystemMesh, observer: Observer): Promise<string> {
  await mesh.deploy([
    {
      name: "load",
      import_path: "observed:app",
      args: { observer: observer.port },
      deployments: [{ name: "Observed", num_replicas: 2 }],
    },
  ]);
  return mesh.clientUrl();
}

interface Victim {
  readonly pid: number;
  /** Replicas that die with it. */
  readonly takes: readonly number[];
  readonly again: () => Promise<unknown>;
}

export async function round(
  mesh: SystemMesh,
  observer: Observer,
  base: string,
  target: Target,
  fault: Fault,
  activity: Activity,
): Promise<Round> {
  observer.forget();
  const before = await runningPids(mesh);
  const victim = await choose(mesh, target, before);
  const load = new Load(base, activity);
  await pause(BEFORE_MS);
  const at = Date.now();
  process.kill(victim.pid, fault === "kill" ? "SIGKILL" : "SIGSTOP");
  const answered = firstAnswer(base, at);
  let back = at;
  if (fault === "stop") {
    await pause(FROZEN_MS);
    back = Date.now();
    process.kill(victim.pid, "SIGCONT");
  } else await victim.again();
  const away = Date.now();
  const answeredMs = await answered;
  await eventually(
    () => whole(mesh, victim, fault),
    `the mesh is whole after ${fault} of ${target}`,
    RECOVERED_WITHIN_MS,
  );
  const wholeMs = Date.now() - back;
  await pause(BEFORE_MS);
  await load.stop();
  const after = await runningPids(mesh);
  const { outcomes } = load;
  const harm: Harm = {
    target,
    fault,
    pids: fault === "kill" || target === "replica" ? victim.takes : [],
    from: at,
    until: at + Math.max(answeredMs, away - at),
  };
  const judged = outcomes.map((outcome) => ({ outcome, says: verdict(outcome, observer.runs(outcome.id), harm) }));
  return {
    requests: outcomes.length,
    failed: judged.flatMap(({ outcome, says }) => (typeof says === "string" ? [{ ...outcome, wrong: says }] : [])),
    excused: judged.filter(({ says }) => says === EXCUSED).map(({ outcome }) => outcome),
    answeredMs,
    wholeMs,
    slowestMs: Math.max(0, ...outcomes.map((o) => o.ms)),
    meanwhile: outcomes.filter((o) => o.wrong === null && o.startedAt + o.ms > at && o.startedAt + o.ms < away).length,
    samePids: before.filter((pid) => !harm.pids.includes(pid)).every((pid) => after.includes(pid)),
  };
}

async function choose(mesh: SystemMesh, target: Target, replicas: readonly number[]): Promise<Victim> {
  const nothing = async (): Promise<void> => {};
  switch (target) {
    case "coordinator":
      return {
        pid: mesh.coordinator.pid,
        takes: [],
        again: async () => mesh.coordinator.exit.then(() => mesh.startCoordinator()),
      };
    case "ingress":
      return { pid: mesh.ingressPid(), takes: [], again: nothing };
    case "replica":
      return { pid: replicas[0]!, takes: [replicas[0]!], again: nothing };
    case "agent": {
      const ingress = Object.values((await mesh.status()).proxies)[0]?.worker_id;
      const index = mesh.agents.findIndex((agent) => agent.ready.workerId !== ingress);
      const agent = mesh.agents[index]!;
      const takes = (await mesh.replicas()).filter((r) => r.worker_id === agent.ready.workerId).map((r) => r.pid ?? 0);
      return { pid: agent.pid, takes, again: async () => agent.exit.then(() => mesh.startAgent(index)) };
    }
  }
}

async function whole(mesh: SystemMesh, victim: Victim, fault: Fault): Promise<boolean> {
  const { skein, applications } = await mesh.status();
  if (skein.recovering || !skein.workers.every((w) => w.status === "ALIVE")) return false;
  const pids = await runningPids(mesh);
  if (applications["load"]?.status !== "RUNNING" || pids.length !== 2) return false;
  if (fault === "kill" && (mesh.processes().has(victim.pid) || pids.some((pid) => victim.takes.includes(pid))))
    return false;
  return pids.every((pid) => mesh.processes().has(pid));
}

const runningPids = async (mesh: SystemMesh): Promise<number[]> =>
  (await mesh.replicas()).filter((r) => r.state === "RUNNING").map((r) => r.pid ?? 0);

/** Asks anew every 20 ms, without waiting for the ones before; ms from `at` to the first good answer to a request sent after it. */
async function firstAnswer(base: string, at: number): Promise<number> {
  for (;;) {
    const outcome = ask(base, "get");
    const first = await Promise.race([outcome, pause(500).then(() => null)]);
    if (first !== null && first.wrong === null) return Date.now() - at;
    if (Date.now() - at > RECOVERED_WITHIN_MS) return Number.POSITIVE_INFINITY;
    await pause(20);
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
