/**
 * The story of a deployment as Ray Serve tells it: status words, triggers and messages when replicas get ready, fail or vanish. Pure.
 * Ends of stories ("everything runs") are found by the planner (settle.ts).
 */
import { deploymentId } from "../protocol/ids.ts";
import type { DeploymentState, DesiredDeployment, Replica, State } from "./state.ts";

/** Replicas whose tickets are remembered as revoked; older ones have expired or their hosts have long been told to stop them. */
const REVOKED_MAX = 1_000;
const UNHEALTHY_MESSAGE =
  "A replica's health check failed. This deployment will be UNHEALTHY until the replica recovers or a new deploy happens.";

const desiredOf = (state: State, replica: Replica): DesiredDeployment | undefined =>
  state.desired.apps[replica.app]?.target?.deployments[replica.deployment];

/** Failed starts in a row after which a deployment is given up. */
export const failureThreshold = (deployment: DesiredDeployment, target: number): number =>
  Math.min(deployment.settings.maxConstructorRetryCount, 3 * Math.max(target, 1));

/** It answers: part of the deployment from now on. */
export function replicaReady(state: State, replica: Replica): State {
  const next: State = {
    ...state,
    replicas: { ...state.replicas, [replica.id]: { ...replica, phase: "running", reason: "" } },
  };
  const desired = desiredOf(state, replica);
  if (desired === undefined || replica.code !== desired.code || replica.config !== desired.config) return next;
  return withStory(next, replica, (story) => ({ ...story, everRan: true, failures: 0, lastFailure: null }));
}

/**
 * It failed and is to go: `error` is why it could not start (or take its config), null for one that was ready and fell ill or died.
 */
export function replicaFailed(state: State, replica: Replica, error: string | null, nowMs: number): State {
  const stopping: State = {
    ...state,
    replicas: { ...state.replicas, [replica.id]: { ...replica, phase: "stopping" } },
  };
  if (error === null) return withStory(stopping, replica, unhealthy);
  const desired = desiredOf(state, replica);
  if (desired === undefined || replica.code !== desired.code) return stopping;
  return withStory(stopping, replica, (story) =>
    failedStart(story, desired, error, nowMs, hasPrevious(stopping, replica, desired)),
  );
}

const hasPrevious = (state: State, failed: Replica, desired: DesiredDeployment): boolean =>
  Object.values(state.replicas).some(
    (r) =>
      r.app === failed.app &&
      r.deployment === failed.deployment &&
      r.phase === "running" &&
      (r.code !== desired.code || r.config !== desired.config),
  );

function failedStart(
  story: DeploymentState,
  desired: DesiredDeployment,
  error: string,
  nowMs: number,
  rolling: boolean,
): DeploymentState {
  const failures = story.failures + 1;
  const counted = { ...story, failures, lastFailure: { atMs: nowMs, error } };
  const threshold = failureThreshold(desired, story.target ?? 1);
  if (failures < threshold || story.everRan) {
    const left = Math.max(threshold - failures, 0);
    const retrying = story.everRan
      ? `A replica failed to start with exception. Retrying. Error:\n${error}`
      : `A replica failed to start with exception. Retrying ${left} more time(s). Error:\n${error}`;
    return story.status === "UPDATING" ? { ...counted, message: retrying } : counted;
  }
  const during = rolling
    ? `The deployment failed to start ${failures} times in a row during a rolling update. This may be due to a problem with its constructor, initial health check or health checks failing. The update is stopped and replicas of the previous version keep running until a new deploy. See controller logs for details. Error:\n${error}`
    : `The deployment failed to start ${failures} times in a row. This may be due to a problem with its constructor or initial health check failing. See controller logs for details. Error:\n${error}`;
  return { ...counted, status: "DEPLOY_FAILED", trigger: "REPLICA_STARTUP_FAILED", message: during };
}

function unhealthy(story: DeploymentState): DeploymentState {
  if (story.status === "DEPLOY_FAILED") return story;
  return {
    ...story,
    status: story.status === "UPDATING" ? "DEPLOY_FAILED" : "UNHEALTHY",
    trigger: "HEALTH_CHECK_FAILED",
    message: UNHEALTHY_MESSAGE,
  };
}

/** Its process is gone, as far as we know. One that ran and that nobody had asked to stop makes its deployment unhealthy. */
export function withoutReplica(state: State, replica: Replica): State {
  const { [replica.id]: _gone, ...replicas } = state.replicas;
  const next: State = { ...state, replicas };
  return replica.phase === "running" ? withStory(next, replica, unhealthy) : next;
}

/** A copy may still run where we can't see it: whoever holds its ticket is turned away. */
export const revoked = (state: State, replica: Replica): State => ({
  ...state,
  revoked: [...state.revoked, replica.id].slice(-REVOKED_MAX),
});

function withStory(state: State, replica: Replica, change: (story: DeploymentState) => DeploymentState): State {
  const id = deploymentId(replica.app, replica.deployment);
  const story = state.deployments[id];
  if (story === undefined || state.desired.apps[replica.app]?.deleting === true) return state;
  return { ...state, deployments: { ...state.deployments, [id]: change(story) } };
}
