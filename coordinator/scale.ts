/** How many replicas each deployment should have now: fixed number, scale API, target capacity or autoscaling. Pure. */
import { deploymentId } from "../protocol/ids.ts";
import { atCapacity, autoscale } from "./autoscale.ts";
import type { PlannedEvent } from "./events.ts";
import { replicasOf, type DeploymentState, type DesiredApp, type DesiredDeployment, type State } from "./state.ts";

/** Autoscaling looks this often, ms; sooner only when a deployment without replicas is asked for. */
const AUTOSCALE_PERIOD_MS = 1_000;
/** Statistics of an ingress older than this, ms, count no more (Ray: 10 s at least). */
const STATS_MAX_AGE_MS = 10_000;

export function* deploymentsOf(
  state: State,
): Generator<{ app: DesiredApp; deployment: DesiredDeployment; story: DeploymentState }> {
  for (const app of Object.values(state.desired.apps)) {
    if (app.deleting || app.target === null) continue;
    for (const deployment of Object.values(app.target.deployments)) {
      const story = state.deployments[deploymentId(app.name, deployment.name)];
      if (story !== undefined) yield { app, deployment, story };
    }
  }
}

export function planTargets(state: State, nowMs: number): PlannedEvent[] {
  const events: PlannedEvent[] = [];
  const capacity = state.desired.options.targetCapacity;
  for (const { deployment, story } of deploymentsOf(state)) {
    const config = deployment.settings.autoscaling;
    if (config === null) {
      const target = atCapacity(deployment.scaled ?? deployment.settings.numReplicas, capacity);
      if (target !== story.target)
        events.push({
          type: "targetChanged",
          deployment: story.id,
          target,
          cause: deployment.scaled === null ? "config" : "scaler",
        });
      continue;
    }
    const [min, max] = [atCapacity(config.min_replicas, capacity), atCapacity(config.max_replicas, capacity)];
    const running = replicasOf(state, story.id.split("#")[0] ?? "", deployment.name).filter(
      (r) => r.phase === "running",
    ).length;
    if (story.target === null) {
      const initial = Math.max(atCapacity(config.initial_replicas ?? config.min_replicas, capacity), running);
      events.push({
        type: "targetChanged",
        deployment: story.id,
        target: Math.max(min, Math.min(max, initial)),
        cause: "adopted",
      });
      continue;
    }
    const total = totalRequests(state, story.id, nowMs);
    const last = story.autoscale.samples.at(-1)?.atMs;
    const due = last === undefined || nowMs - last >= AUTOSCALE_PERIOD_MS;
    if (!due && !(story.target === 0 && total > 0)) continue;
    const decided = autoscale(story.autoscale, { nowMs, total, running, target: story.target, min, max }, config);
    events.push({ type: "autoscaleRemembered", deployment: story.id, memory: decided.memory });
    if (decided.target !== story.target)
      events.push({ type: "targetChanged", deployment: story.id, target: decided.target, cause: "autoscaling" });
  }
  return events;
}

function totalRequests(state: State, id: string, nowMs: number): number {
  let total = 0;
  for (const stats of Object.values(state.stats)) {
    const load = stats.load[id];
    if (load !== undefined && nowMs - stats.atMs <= STATS_MAX_AGE_MS) total += load.queued + load.ongoing;
  }
  return total;
}
