/**
 * reduce(state, event) -> state: the only way the coordinator's state changes. Pure; one file per group of events.
 */
import type { Event } from "./events.ts";
import { reduceOperator } from "./operators.ts";
import { reducePeer } from "./peers.ts";
import { reducePlanned } from "./planned.ts";
import type { State } from "./state.ts";

export function reduce(state: State, event: Event): State {
  switch (event.type) {
    case "deployed":
    case "built":
    case "buildFailed":
    case "deleteRequested":
    case "scaled":
    case "apiKeyCreated":
    case "apiKeyRevoked":
    case "applicationOpened":
      return reduceOperator(state, event);
    case "joined":
    case "disconnected":
    case "left":
    case "reported":
    case "measured":
    case "ingressGone":
      return reducePeer(state, event);
    case "recovered":
    case "workerLost":
    case "appGone":
    case "ingressDrains":
    case "ingressDrained":
    case "ingressSettled":
    case "targetChanged":
    case "autoscaleRemembered":
    case "replicaAdded":
    case "replicaPlaced":
    case "replicaUnplaceable":
    case "replicaReconfigured":
    case "replicaStopped":
    case "statusChanged":
      return reducePlanned(state, event);
  }
}
