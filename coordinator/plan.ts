/**
 * plan(state, now) -> events: what follows from the state. A chain of rules; the first that has something to say is the round.
 * The loop reduces and asks again until nothing is left (at most PLAN_ROUNDS_MAX times). Pure.
 */
import { WORKER_LOST_AFTER_MS } from "../protocol/limits.ts";
import { planDrains } from "./drain.ts";
import type { PlannedEvent } from "./events.ts";
import { planPlacement } from "./place.ts";
import { planReplicas } from "./rollout.ts";
import { planStatus } from "./settle.ts";
import type { State } from "./state.ts";
import { planTargets } from "./scale.ts";

/** Rounds until nothing is left. Rules come one after the other, so a handful is normal; more would be a rule that argues with itself. */
export const PLAN_ROUNDS_MAX = 64;

type Rule = (state: State, nowMs: number) => PlannedEvent[];

/** After a start: only listen, until every known worker has said what it holds. Then plan with all of it known. */
const recover: Rule = (state, nowMs) => {
  if (state.recovery === null) return [];
  const all = state.desired.knownWorkers.every((id) => state.workers[id]?.reported === true);
  return all || nowMs >= state.recovery.untilMs ? [{ type: "recovered" }] : [];
};

const loseWorkers: Rule = (state, nowMs) =>
  Object.values(state.workers)
    .filter((w) => w.silentSinceMs !== null && nowMs - w.silentSinceMs >= WORKER_LOST_AFTER_MS)
    .map((w) => ({ type: "workerLost", worker: w.id, nowMs }));

const dropApps: Rule = (state) =>
  Object.values(state.desired.apps)
    .filter((app) => app.deleting && !Object.values(state.replicas).some((r) => r.app === app.name))
    .map((app) => ({ type: "appGone", app: app.name }));

const RULES: readonly Rule[] = [
  loseWorkers,
  planTargets,
  planReplicas,
  planPlacement,
  planDrains,
  dropApps,
  planStatus,
];

export function plan(state: State, nowMs: number): PlannedEvent[] {
  const recovered = recover(state, nowMs);
  if (recovered.length > 0 || state.recovery !== null) return recovered;
  for (const rule of RULES) {
    const events = rule(state, nowMs);
    if (events.length > 0) return events;
  }
  return [];
}
