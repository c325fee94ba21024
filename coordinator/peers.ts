/** Events of workers and ingresses: what is. Replicas are adopted from reports, fail, heal and vanish here. Pure. */
import { deploymentId, splitId, type ReplicaId } from "../protocol/ids.ts";
import type { Capabilities, ReplicaReport } from "../protocol/control.ts";
import type { PeerEvent } from "./events.ts";
import {
  NOTHING,
  replicasOf,
  type DesiredDeployment,
  type Replica,
  type Requirements,
  type Resources,
  type State,
  type WorkerState,
} from "./state.ts";
import { replicaFailed, replicaReady, revoked, withoutReplica } from "./story.ts";

export function reducePeer(state: State, event: PeerEvent): State {
  switch (event.type) {
    case "joined":
      return joined(state, event);
    case "disconnected": {
      const worker = state.workers[event.worker];
      if (worker === undefined || worker.incarnation !== event.incarnation || !worker.connected) return state;
      return withWorker(state, { ...worker, connected: false, silentSinceMs: event.nowMs });
    }
    case "left": {
      const worker = state.workers[event.worker];
      if (worker === undefined || worker.incarnation !== event.incarnation) return state;
      return withoutWorker(state, worker, false);
    }
    case "reported":
      return reported(state, event);
    case "measured": {
      const load = Object.fromEntries(
        event.stats.deployments.map((d) => [
          deploymentId(d.app, d.deployment),
          { queued: d.queued, ongoing: d.ongoing },
        ]),
      );
      return {
        ...state,
        stats: { ...state.stats, [event.ingress]: { ingress: event.ingress, atMs: event.nowMs, load } },
      };
    }
    case "ingressGone": {
      const { [event.ingress]: _gone, ...stats } = state.stats;
      return { ...state, stats };
    }
  }
}

function joined(state: State, event: Extract<PeerEvent, { type: "joined" }>): State {
  const before = state.workers[event.worker];
  const worker: WorkerState = {
    id: event.worker,
    host: event.host,
    incarnation: event.incarnation,
    capabilities: event.capabilities,
    connected: true,
    silentSinceMs: null,
    reported: before?.incarnation === event.incarnation && before.reported,
    ingress: before?.ingress ?? null,
  };
  const known = state.desired.knownWorkers.includes(event.worker)
    ? state.desired
    : { ...state.desired, knownWorkers: [...state.desired.knownWorkers, event.worker] };
  return withWorker({ ...state, desired: known }, worker);
}

/** The worker and all it had are gone. `revoke`: nobody saw its replicas end, so their tickets are good no longer. */
export function withoutWorker(state: State, worker: WorkerState, revoke: boolean): State {
  let next = state;
  for (const replica of Object.values(state.replicas))
    if (replica.worker === worker.id) next = withoutReplica(revoke ? revoked(next, replica) : next, replica);
  const { [worker.id]: _gone, ...workers } = next.workers;
  return {
    ...next,
    workers,
    desired: { ...next.desired, knownWorkers: next.desired.knownWorkers.filter((id) => id !== worker.id) },
  };
}

function reported(state: State, event: Extract<PeerEvent, { type: "reported" }>): State {
  const worker = state.workers[event.worker];
  if (worker === undefined) return state;
  let next = withWorker(state, { ...worker, reported: true, ingress: event.report.ingress });
  const listed = new Set<string>();
  for (const report of event.report.replicas) {
    listed.add(report.replica);
    const known = next.replicas[report.replica];
    if (known === undefined) next = adopt(next, worker, report, event.nowMs);
    else if (known.worker === worker.id && known.code === report.incarnation)
      next = update(next, known, report, event.nowMs);
  }
  for (const replica of Object.values(next.replicas)) {
    if (replica.worker !== worker.id || listed.has(replica.id)) continue;
    // It was there and is not: its process is gone. Never seen and the worker holds our newest word: it was stopped before it started.
    if (replica.seen || (replica.phase === "stopping" && event.confirmed)) next = withoutReplica(next, replica);
  }
  return next;
}

function update(state: State, replica: Replica, report: ReplicaReport, nowMs: number): State {
  const seen: Replica = { ...replica, seen: true, report };
  const next: State = { ...state, replicas: { ...state.replicas, [replica.id]: seen } };
  if (replica.phase === "stopping") return next;
  switch (report.state) {
    case "starting":
    case "stopping":
      return next;
    case "ready":
      // The config it was told to take failed: Ray replaces such a replica, and counts it as a failed start.
      if (report.reconfigureError !== undefined && report.userConfigVersion !== replica.config)
        return replicaFailed(next, seen, report.reconfigureError, nowMs);
      return replica.phase === "running" && replica.report?.userConfigVersion === report.userConfigVersion
        ? next
        : replicaReady(next, seen);
    case "unhealthy":
      return replicaFailed(next, seen, null, nowMs);
    case "failed":
      return replica.phase === "running" && report.startup !== true
        ? replicaFailed(next, seen, null, nowMs)
        : replicaFailed(next, seen, report.error ?? "The replica's process ended before it was ready.", nowMs);
  }
}

/** A replica that we didn't know: after a restart it is taken over as it is; else it is left-over and is drained. */
function adopt(state: State, worker: WorkerState, report: ReplicaReport, nowMs: number): State {
  const id = report.replica as ReplicaId;
  const { app, deployment: name } = splitId(id);
  const desired = state.desired.apps[app];
  const deployment = desired?.deleting === true ? undefined : desired?.target?.deployments[name];
  const code = deployment?.codes[report.incarnation];
  const wanted =
    state.recovery !== null &&
    deployment !== undefined &&
    code !== undefined &&
    (report.state === "ready" || report.state === "starting") &&
    !state.revoked.includes(id);
  const replica: Replica = {
    id,
    app,
    deployment: name,
    phase: wanted ? (report.state === "ready" ? "running" : "starting") : "stopping",
    code: report.incarnation,
    config:
      deployment !== undefined && Object.hasOwn(deployment.configs, report.userConfigVersion)
        ? report.userConfigVersion
        : (deployment?.config ?? 0),
    rank: deployment === undefined ? 0 : freeRank(replicasOf(state, app, name)),
    worker: worker.id,
    reserved: code === undefined ? NOTHING : reservation(code.requirements, freeGpus(state, worker)),
    createdAtMs: report.startedAtMs ?? nowMs,
    seen: true,
    report,
    reason: "",
  };
  const next: State = { ...state, replicas: { ...state.replicas, [id]: replica } };
  return replica.phase === "running" && isCurrent(replica, deployment) ? replicaReady(next, replica) : next;
}

export const isCurrent = (replica: Replica, deployment: DesiredDeployment | undefined): boolean =>
  deployment !== undefined && replica.code === deployment.code && replica.config === deployment.config;

export function freeRank(replicas: readonly Replica[]): number {
  const taken = new Set(replicas.map((r) => r.rank));
  let rank = 0;
  while (taken.has(rank)) rank += 1;
  return rank;
}

/** `auto` takes a whole GPU where one is free. */
export const reservation = (needs: Requirements, gpusFree: number): Resources => ({
  ...needs,
  gpus: needs.gpus === "auto" ? (gpusFree >= 1 ? 1 : 0) : needs.gpus,
});

function freeGpus(state: State, worker: { id: string; capabilities: Capabilities }): number {
  let free = worker.capabilities.gpus;
  for (const replica of Object.values(state.replicas)) if (replica.worker === worker.id) free -= replica.reserved.gpus;
  return free;
}

const withWorker = (state: State, worker: WorkerState): State => ({
  ...state,
  workers: { ...state.workers, [worker.id]: worker },
});
