/**
 * Which replicas of each deployment to start, stop or reconfigure: scaling, waves of a rolling update, retries, left-overs. Pure.
 * Source of the wave rule: Ray Serve, deployment_state.py `_check_and_stop_outdated_version_replicas`.
 */
import type { PlannedEvent } from "./events.ts";
import { freeRank, isCurrent } from "./peers.ts";
import { deploymentsOf } from "./scale.ts";
import { replicasOf, type DeploymentState, type DesiredDeployment, type Replica, type State } from "./state.ts";
import { failureThreshold } from "./story.ts";
import { newReplicaId, nextRandom } from "./suffix.ts";

/** A deployment that has run before retries failing starts for ever, this far apart at first and at most, ms. */
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 30_000;

export interface Wanted {
  readonly start: number;
  readonly stop: readonly Replica[];
  readonly reconfigure: readonly Replica[];
}

export function planReplicas(state: State, nowMs: number): PlannedEvent[] {
  const events: PlannedEvent[] = leftOvers(state);
  let seed = state.random;
  for (const { deployment, story, app } of deploymentsOf(state)) {
    const all = replicasOf(state, app.name, deployment.name);
    const wanted = rollout(state, deployment, story, all, nowMs);
    for (const replica of wanted.stop) events.push({ type: "replicaStopped", replica: replica.id });
    for (const replica of wanted.reconfigure)
      events.push({ type: "replicaReconfigured", replica: replica.id, config: deployment.config });
    const ranked = all.filter((r) => r.phase !== "stopping" && !wanted.stop.includes(r));
    for (let i = 0; i < wanted.start; i += 1) {
      const rank = freeRank(ranked);
      const id = newReplicaId(story.id, seed);
      seed = nextRandom(seed);
      events.push({ type: "replicaAdded", replica: id, code: deployment.code, config: deployment.config, rank, nowMs });
      ranked.push({ rank } as Replica);
    }
  }
  return events;
}

/** Replicas that no application wants any more. */
function leftOvers(state: State): PlannedEvent[] {
  return Object.values(state.replicas)
    .filter((r) => {
      const app = state.desired.apps[r.app];
      return (
        r.phase !== "stopping" &&
        (app === undefined ||
          app.deleting ||
          (app.target !== null && app.target.deployments[r.deployment] === undefined))
      );
    })
    .map((r) => ({ type: "replicaStopped", replica: r.id }));
}

export function rollout(
  state: State,
  deployment: DesiredDeployment,
  story: DeploymentState,
  all: readonly Replica[],
  nowMs: number,
): Wanted {
  const target = story.target ?? 0;
  const live = all.filter((r) => r.phase !== "stopping");
  const surge = Math.ceil((deployment.settings.maxSurgePercent / 100) * target);
  if (surge > 0 && live.some((r) => r.code !== deployment.code))
    return surging(state, deployment, live, target, target + surge, (delta) =>
      delta > 0 && mayStart(deployment, story, all, target, nowMs) ? delta : 0,
    );
  const none: Wanted = { start: 0, stop: [], reconfigure: [] };
  if (live.length > target) return { ...none, stop: victims(state, deployment, live, live.length - target) };

  const delta = target - live.length;
  const start = delta > 0 && mayStart(deployment, story, all, target, nowMs) ? delta : 0;
  const outdated = live.filter((r) => !isCurrent(r, deployment));
  if (outdated.length === 0) return { ...none, start };
  // What is still on its way (starting, missing, taking its config) counts against the wave.
  const settled = live.filter(
    (r) => r.phase === "running" && (!isCurrent(r, deployment) || r.report?.userConfigVersion === r.config),
  ).length;
  const wave = Math.max(Math.floor(deployment.settings.rollingUpdatePercentage * target), 1);
  const early = outdated.filter((r) => r.phase !== "running");
  const room = Math.max(wave - (target - settled), 0);
  const now = [
    ...early,
    ...outdated
      .filter((r) => r.phase === "running")
      .sort(byAge)
      .slice(0, room),
  ];
  return {
    start,
    stop: now.filter((r) => r.code !== deployment.code || r.phase === "pending"),
    reconfigure: now.filter((r) => r.code === deployment.code && r.phase !== "pending"),
  };
}

/** New ones first, up to `most` together with the old; then an old one goes for each new one that runs. */
function surging(
  state: State,
  deployment: DesiredDeployment,
  live: readonly Replica[],
  target: number,
  most: number,
  start: (delta: number) => number,
): Wanted {
  const fresh = live.filter((r) => r.code === deployment.code);
  const old = live.filter((r) => r.code !== deployment.code);
  const running = live.filter((r) => r.phase === "running").length;
  const stop = [
    ...(fresh.length > target ? victims(state, deployment, fresh, fresh.length - target) : []),
    ...old.filter((r) => r.phase !== "running"),
    ...old
      .filter((r) => r.phase === "running")
      .sort(byAge)
      .slice(0, Math.max(running - target, 0)),
  ];
  const reconfigure = fresh.filter((r) => !isCurrent(r, deployment) && !stop.includes(r));
  return { start: start(Math.min(target - fresh.length, most - live.length + stop.length)), stop, reconfigure };
}

function mayStart(
  deployment: DesiredDeployment,
  story: DeploymentState,
  all: readonly Replica[],
  target: number,
  nowMs: number,
): boolean {
  if (story.lastFailure === null) return true;
  if (!story.everRan) return story.failures < failureThreshold(deployment, target);
  // One that fails again and again while others serve: slowly, and not while the failed one is still being cleared away.
  const waitMs = Math.min(RETRY_FIRST_MS * 2 ** Math.min(story.failures - 1, 10), RETRY_MAX_MS);
  return nowMs - story.lastFailure.atMs >= waitMs && all.length < REPLICAS_IN_RETRY_MAX + target * 2;
}

const REPLICAS_IN_RETRY_MAX = 4;

const byAge = (a: Replica, b: Replica): number => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1);

/** Ray's order: what doesn't serve yet, then outdated ones, then hosts other than the head's, hosts with fewest replicas, newest first. */
function victims(state: State, deployment: DesiredDeployment, live: readonly Replica[], count: number): Replica[] {
  const onWorker = new Map<string, number>();
  for (const r of Object.values(state.replicas))
    if (r.worker !== null) onWorker.set(r.worker, (onWorker.get(r.worker) ?? 0) + 1);
  const key = (r: Replica): number[] => [
    ["pending", "starting", "running", "stopping"].indexOf(r.phase),
    isCurrent(r, deployment) ? 1 : 0,
    r.worker !== null && state.workers[r.worker]?.host === state.headHost ? 1 : 0,
    r.worker === null ? 0 : (onWorker.get(r.worker) ?? 0),
    -r.createdAtMs,
  ];
  const keyed = live.map((r) => ({ r, key: key(r) }));
  keyed.sort((a, b) => {
    const i = a.key.findIndex((value, at) => value !== b.key[at]);
    return i < 0 ? (a.r.id < b.r.id ? -1 : 1) : (a.key[i] ?? 0) - (b.key[i] ?? 0);
  });
  return keyed.slice(0, count).map(({ r }) => r);
}
