/** Ends of stories: when a deployment has what it should have, and what it waits for when that takes long. Pure. */
import type { PlannedEvent } from "./events.ts";
import { isCurrent } from "./peers.ts";
import { deploymentsOf } from "./scale.ts";
import { replicasOf, type DeploymentState, type DesiredDeployment, type Replica, type State } from "./state.ts";

/** A start that takes longer, ms, is talked about (Ray's SLOW_STARTUP_WARNING_S). */
const SLOW_START_MS = 30_000;

export function planStatus(state: State, nowMs: number): PlannedEvent[] {
  const events: PlannedEvent[] = [];
  for (const { app, deployment, story } of deploymentsOf(state)) {
    const all = replicasOf(state, app.name, deployment.name);
    const next = complete(deployment, story, all)
      ? completed(story)
      : { ...story, message: waiting(state, app.name, deployment, story, all, nowMs) };
    if (next.status !== story.status || next.trigger !== story.trigger || next.message !== story.message)
      events.push({
        type: "statusChanged",
        deployment: story.id,
        status: next.status,
        trigger: next.trigger,
        message: next.message,
      });
  }
  return events;
}

function complete(deployment: DesiredDeployment, story: DeploymentState, all: readonly Replica[]): boolean {
  const live = all.filter((r) => r.phase !== "stopping");
  const settled = live.filter(
    (r) =>
      r.phase === "running" &&
      isCurrent(r, deployment) &&
      (r.report === null || r.report.userConfigVersion === r.config),
  );
  return (
    settled.length === story.target &&
    live.length === settled.length &&
    (story.status !== "DOWNSCALING" || all.length === live.length)
  );
}

function completed(story: DeploymentState): DeploymentState {
  switch (story.status) {
    case "HEALTHY":
      return story;
    case "UPDATING":
      return { ...story, status: "HEALTHY", trigger: "CONFIG_UPDATE_COMPLETED", message: "" };
    case "UPSCALING":
      return { ...story, status: "HEALTHY", trigger: "UPSCALE_COMPLETED", message: "" };
    case "DOWNSCALING":
      return { ...story, status: "HEALTHY", trigger: "DOWNSCALE_COMPLETED", message: "" };
    case "UNHEALTHY":
    case "DEPLOY_FAILED":
      return { ...story, status: "HEALTHY", trigger: "UNSPECIFIED", message: "" };
  }
}

/** What it waits for. A message about a failure is never replaced by one about slowness. */
function waiting(
  state: State,
  app: string,
  deployment: DesiredDeployment,
  story: DeploymentState,
  all: readonly Replica[],
  nowMs: number,
): string {
  const talks = story.status === "UPDATING" || story.status === "UPSCALING";
  if (!talks || story.lastFailure !== null) return story.message;
  const pending = all.filter((r) => r.phase === "pending" && r.reason !== "");
  const slow = (replicas: readonly Replica[]): Replica[] =>
    replicas.filter((r) => nowMs - r.createdAtMs > SLOW_START_MS);
  const first = pending[0];
  if (first !== undefined) {
    const late = slow(pending);
    if (late.length === 0) return first.reason;
    const needs = deployment.codes[deployment.code]?.requirements;
    const required =
      needs === undefined ? {} : { CPU: needs.cpus, GPU: needs.gpus, memory: needs.memory, ...needs.custom };
    return (
      `Deployment '${deployment.name}' in application '${app}' has ${late.length} replicas that have taken more than 30s to be scheduled. ` +
      `This may be due to waiting for a worker to join. Resources required for each replica: ${listed(required)}, total resources available: ${listed(total(state))}. ` +
      `${first.reason} Use \`skein status\` for more details.`
    );
  }
  const initializing = slow(all.filter((r) => r.phase === "starting"));
  if (initializing.length > 0)
    return `Deployment '${deployment.name}' in application '${app}' has ${initializing.length} replicas that have taken more than 30s to initialize. This may be caused by a slow init or reconfigure method.`;
  return story.message.startsWith("Upscaling ") ? story.message : "";
}

function total(state: State): Record<string, number> {
  const sum = { CPU: 0, GPU: 0 };
  for (const worker of Object.values(state.workers)) {
    sum.CPU += worker.capabilities.cpus;
    sum.GPU += worker.capabilities.gpus;
  }
  return sum;
}

/** As Ray prints resources; what is zero is left out. */
const listed = (resources: Readonly<Record<string, number | string>>): string =>
  `{${Object.entries(resources)
    .filter(([, amount]) => amount !== 0)
    .map(([name, amount]) => `"${name}": ${amount}`)
    .join(", ")}}`;
