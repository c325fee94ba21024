/** Events that the planner decided on. Pure. */
import { splitId } from "../protocol/ids.ts";
import { nextRandom } from "./suffix.ts";
import type { PlannedEvent } from "./events.ts";
import { reservation, withoutWorker } from "./peers.ts";
import { NOTHING, type DeploymentState, type Draining, type Replica, type State } from "./state.ts";
import { withoutReplica } from "./story.ts";

export function reducePlanned(state: State, event: PlannedEvent): State {
  switch (event.type) {
    case "recovered":
      // Who did not come back by now is not waited for at the next start.
      return {
        ...state,
        recovery: null,
        desired: {
          ...state.desired,
          knownWorkers: state.desired.knownWorkers.filter((id) => state.workers[id] !== undefined),
        },
      };
    case "workerLost": {
      const worker = state.workers[event.worker];
      return worker === undefined ? state : withoutWorker(state, worker, true);
    }
    case "appGone": {
      const { [event.app]: _gone, ...apps } = state.desired.apps;
      const deployments = Object.fromEntries(
        Object.entries(state.deployments).filter(([id]) => !id.startsWith(`${event.app}#`)),
      );
      return { ...state, deployments, desired: { ...state.desired, apps } };
    }
    case "ingressDrains":
      return withDraining(state, event.host, { sinceMs: event.nowMs, over: event.over });
    case "ingressDrained": {
      const draining = state.draining[event.host];
      return draining === undefined ? state : withDraining(state, event.host, { ...draining, over: true });
    }
    case "ingressSettled": {
      const { [event.host]: _settled, ...draining } = state.draining;
      return { ...state, draining };
    }
    case "targetChanged":
      return withDeployment(state, event.deployment, (d) => targetChanged(d, event));
    case "autoscaleRemembered":
      return withDeployment(state, event.deployment, (d) => ({ ...d, autoscale: event.memory }));
    case "replicaAdded": {
      const { app, deployment } = splitId(event.replica);
      const replica: Replica = {
        id: event.replica,
        app,
        deployment,
        phase: "pending",
        code: event.code,
        config: event.config,
        rank: event.rank,
        worker: null,
        reserved: NOTHING,
        createdAtMs: event.nowMs,
        seen: false,
        report: null,
        reason: "",
      };
      return { ...withReplica(state, replica), random: nextRandom(state.random) };
    }
    case "replicaPlaced":
      return change(state, event.replica, (replica) => {
        const code = state.desired.apps[replica.app]?.target?.deployments[replica.deployment]?.codes[replica.code];
        const reserved = code === undefined ? NOTHING : reservation(code.requirements, event.gpus);
        return { ...replica, phase: "starting", worker: event.worker, reserved, reason: "" };
      });
    case "replicaUnplaceable":
      return change(state, event.replica, (replica) => ({ ...replica, reason: event.reason }));
    case "replicaReconfigured":
      return change(state, event.replica, (replica) => ({ ...replica, config: event.config }));
    case "replicaStopped": {
      const replica = state.replicas[event.replica];
      if (replica === undefined) return state;
      return replica.worker === null
        ? withoutReplica(state, replica)
        : withReplica(state, { ...replica, phase: "stopping" });
    }
    case "statusChanged":
      return withDeployment(state, event.deployment, (d) => ({
        ...d,
        status: event.status,
        trigger: event.trigger,
        message: event.message,
      }));
  }
}

function targetChanged(d: DeploymentState, event: Extract<PlannedEvent, { type: "targetChanged" }>): DeploymentState {
  const next = { ...d, target: event.target };
  const settled = d.status === "HEALTHY" || d.status === "UPSCALING" || d.status === "DOWNSCALING";
  // The scale API leaves the status alone (recorded, C071); a first target or an update in progress keeps its own words.
  if (
    d.target === null ||
    !settled ||
    event.cause === "scaler" ||
    event.cause === "adopted" ||
    event.target === d.target
  )
    return next;
  const up = event.target > d.target;
  const auto = event.cause === "autoscaling";
  return {
    ...next,
    status: up ? "UPSCALING" : "DOWNSCALING",
    trigger: auto ? "AUTOSCALING" : "CONFIG_UPDATE_STARTED",
    message: auto ? `${up ? "Upscaling" : "Downscaling"} from ${d.target} to ${event.target} replicas.` : "",
  };
}

const withDraining = (state: State, host: string, draining: Draining): State => ({
  ...state,
  draining: { ...state.draining, [host]: draining },
});

const withReplica = (state: State, replica: Replica): State => ({
  ...state,
  replicas: { ...state.replicas, [replica.id]: replica },
});

function change(state: State, id: string, to: (replica: Replica) => Replica): State {
  const replica = state.replicas[id];
  return replica === undefined ? state : withReplica(state, to(replica));
}

function withDeployment(state: State, id: string, to: (d: DeploymentState) => DeploymentState): State {
  const deployment = state.deployments[id];
  return deployment === undefined ? state : { ...state, deployments: { ...state.deployments, [id]: to(deployment) } };
}
