/** Everything that may happen to the coordinator's state: from operators, from peers, from the planner. */
import type { Manifest } from "../protocol/artefact.ts";
import type { ApplicationConfig, GrpcOptions, HttpOptions, LoggingConfig } from "../protocol/config.ts";
import type { Capabilities, IngressStats, WorkerReport } from "../protocol/control.ts";
import type { AppName, DeploymentId, HostId, IngressId, ReplicaId, WorkerId } from "../protocol/ids.ts";
import type { DeploymentStatus, DeploymentTrigger } from "../protocol/status.ts";
import type { ApiKey, AutoscaleMemory, MeshOptions } from "./state.ts";

export interface DeployedApp {
  readonly config: ApplicationConfig;
  readonly submitted: Readonly<Record<string, unknown>>;
  /** Present when the client has built it already. */
  readonly built: { readonly artefact: string; readonly manifest: Manifest } | null;
}

export interface DeployOptions {
  readonly proxyLocation: MeshOptions["proxyLocation"];
  readonly http: HttpOptions;
  readonly grpc: GrpcOptions;
  readonly loggingConfig: LoggingConfig | null;
  readonly targetCapacity: number | null;
}

export type OperatorEvent =
  /** Declarative: declarative applications that aren't listed are deleted. Imperative: only the listed ones change. */
  | {
      readonly type: "deployed";
      readonly source: "declarative" | "imperative";
      readonly options: DeployOptions;
      readonly apps: readonly DeployedApp[];
      readonly warnings: readonly string[];
      readonly nowMs: number;
    }
  | {
      readonly type: "built";
      readonly app: AppName;
      readonly generation: number;
      readonly artefact: string;
      readonly manifest: Manifest;
    }
  | { readonly type: "buildFailed"; readonly app: AppName; readonly generation: number; readonly message: string }
  | { readonly type: "deleteRequested"; readonly apps: readonly AppName[] | "all" }
  | { readonly type: "scaled"; readonly app: AppName; readonly deployment: string; readonly replicas: number }
  | { readonly type: "apiKeyCreated"; readonly key: ApiKey }
  | { readonly type: "apiKeyRevoked"; readonly id: string }
  /** Its keys go, and anybody may call it. */
  | { readonly type: "applicationOpened"; readonly app: string };

export type PeerEvent =
  | {
      readonly type: "joined";
      readonly worker: WorkerId;
      readonly host: HostId;
      readonly incarnation: number;
      readonly capabilities: Capabilities;
    }
  | { readonly type: "disconnected"; readonly worker: WorkerId; readonly incarnation: number; readonly nowMs: number }
  | { readonly type: "left"; readonly worker: WorkerId; readonly incarnation: number }
  /** `confirmed`: the report answers the newest assignment, so what it lacks isn't on its way. */
  | {
      readonly type: "reported";
      readonly worker: WorkerId;
      readonly report: WorkerReport;
      readonly confirmed: boolean;
      readonly nowMs: number;
    }
  | { readonly type: "measured"; readonly ingress: IngressId; readonly stats: IngressStats; readonly nowMs: number }
  | { readonly type: "ingressGone"; readonly ingress: IngressId };

export type PlannedEvent =
  | { readonly type: "recovered" }
  | { readonly type: "workerLost"; readonly worker: WorkerId; readonly nowMs: number }
  | { readonly type: "appGone"; readonly app: AppName }
  /** An ingress is no longer wanted. `over`: nobody can ask it anything, so it need not be drained. */
  | { readonly type: "ingressDrains"; readonly host: HostId; readonly over: boolean; readonly nowMs: number }
  | { readonly type: "ingressDrained"; readonly host: HostId }
  /** It is wanted again, or gone. */
  | { readonly type: "ingressSettled"; readonly host: HostId }
  | {
      readonly type: "targetChanged";
      readonly deployment: DeploymentId;
      readonly target: number;
      readonly cause: "config" | "autoscaling" | "scaler" | "adopted";
    }
  | { readonly type: "autoscaleRemembered"; readonly deployment: DeploymentId; readonly memory: AutoscaleMemory }
  | {
      readonly type: "replicaAdded";
      readonly replica: ReplicaId;
      readonly code: number;
      readonly config: number;
      readonly rank: number;
      readonly nowMs: number;
    }
  | { readonly type: "replicaPlaced"; readonly replica: ReplicaId; readonly worker: WorkerId; readonly gpus: number }
  | { readonly type: "replicaUnplaceable"; readonly replica: ReplicaId; readonly reason: string }
  | { readonly type: "replicaReconfigured"; readonly replica: ReplicaId; readonly config: number }
  | { readonly type: "replicaStopped"; readonly replica: ReplicaId }
  | {
      readonly type: "statusChanged";
      readonly deployment: DeploymentId;
      readonly status: DeploymentStatus;
      readonly trigger: DeploymentTrigger;
      readonly message: string;
    };

export type Event = OperatorEvent | PeerEvent | PlannedEvent;
