/**
 * The coordinator's state, as plain values. `desired` is all that is stored; the rest is soft and is rebuilt from reports.
 * Knows nothing of how it changes (reduce.ts), what follows from it (plan.ts) or who is told (project.ts).
 */
import type { Manifest } from "../protocol/artefact.ts";
import type {
  ApplicationConfig,
  AutoscalingConfig,
  BackpressureConfig,
  GrpcOptions,
  HttpOptions,
  LoggingConfig,
} from "../protocol/config.ts";
import type { Capabilities, IngressReport, ReplicaReport } from "../protocol/control.ts";
import type { AppName, DeploymentId, HostId, IngressId, ReplicaId, WorkerId } from "../protocol/ids.ts";
import type { DeploymentStatus, DeploymentTrigger } from "../protocol/status.ts";

/** Changes of this shape need a migration (store/desired.ts). */
export const DESIRED_SCHEMA = 2;

export interface Resources {
  readonly cpus: number;
  readonly gpus: number;
  /** Bytes. */
  readonly memory: number;
  readonly custom: Readonly<Record<string, number>>;
}

/** What a replica needs; `auto`: a GPU if a worker has one free, else none. */
export interface Requirements extends Omit<Resources, "gpus"> {
  readonly gpus: number | "auto";
}

/** What can only change with a new process. Numbered; a replica's incarnation is the number of the code it runs. */
export interface CodeVersion {
  readonly artefact: string;
  readonly requirements: Requirements;
  readonly envVars: Readonly<Record<string, string>>;
  readonly maxReplicasPerNode: number | null;
  readonly needsNode: string | null;
}

/** What a running replica or the coordinator takes over in place. */
export interface Settings {
  readonly numReplicas: number;
  readonly autoscaling: AutoscalingConfig | null;
  readonly maxOngoingRequests: number;
  /** False: an engine may derive it from its slots. */
  readonly maxOngoingGiven: boolean;
  readonly maxQueuedRequests: number;
  readonly backpressure: BackpressureConfig;
  readonly gracefulShutdownTimeoutS: number;
  readonly gracefulShutdownWaitLoopS: number;
  readonly healthCheckPeriodS: number;
  readonly healthCheckTimeoutS: number;
  readonly rollingUpdatePercentage: number;
  readonly maxSurgePercent: number;
  readonly maxConstructorRetryCount: number;
  readonly retry: "none" | "no-output";
  readonly errorFormat?: "openai";
  readonly loggingConfig: LoggingConfig | null;
}

export interface DesiredDeployment {
  readonly name: string;
  readonly callees: readonly string[];
  readonly settings: Settings;
  /** Options as `GET` shows them (Ray's keys). */
  readonly shown: Readonly<Record<string, unknown>>;
  /** Numbers of the code and the user config that replicas should have; older ones stay while replicas have them. */
  readonly code: number;
  readonly config: number;
  readonly codes: Readonly<Record<number, CodeVersion>>;
  readonly configs: Readonly<Record<number, unknown>>;
  /** Set through the scale API. */
  readonly scaled: number | null;
}

export interface Target {
  readonly config: ApplicationConfig;
  readonly artefact: string;
  readonly manifest: Manifest;
  readonly deployments: Readonly<Record<string, DesiredDeployment>>;
}

export type Build =
  | { readonly state: "done" }
  /** `quiet`: same import path as before, so what runs stays in force (and in the status) unless the artefact differs. */
  | { readonly state: "pending"; readonly quiet: boolean }
  | { readonly state: "failed"; readonly message: string };

export interface DesiredApp {
  readonly name: AppName;
  readonly source: "imperative" | "declarative";
  /** Number of the deploy that last touched it: a build's result names it, so that a late one is dropped. */
  readonly generation: number;
  readonly deployedAtMs: number;
  readonly config: ApplicationConfig;
  /** As it was sent: unset keys are absent. */
  readonly submitted: Readonly<Record<string, unknown>>;
  readonly build: Build;
  /** What is carried out; null until the first build. */
  readonly target: Target | null;
  readonly deleting: boolean;
}

export interface MeshOptions {
  readonly proxyLocation: "EveryNode" | "HeadOnly" | "Disabled";
  /** Null: no client listeners yet. Set by the first deploy (or at start) and kept. */
  readonly http: HttpOptions | null;
  /** `http` was given at start: it stays when everything is deleted. */
  readonly pinned: boolean;
  readonly grpc: GrpcOptions | null;
  readonly loggingConfig: LoggingConfig | null;
  readonly targetCapacity: number | null;
  /** Warnings of the last deploy, shown by status. */
  readonly warnings: readonly string[];
}

/** What is kept of a key with which an application is called. */
export interface ApiKey {
  /** Public: the second part of the key's text. */
  readonly id: string;
  readonly app: string;
  /** What the operator calls it. */
  readonly name: string;
  /** SHA-256 of the whole text, hex. */
  readonly hash: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number | null;
}

export interface DesiredState {
  readonly schema: typeof DESIRED_SCHEMA;
  /** Rises with every deploy; the source of code and config numbers, so that a number is never used twice. */
  readonly generation: number;
  readonly options: MeshOptions;
  readonly apps: Readonly<Record<string, DesiredApp>>;
  /** By application, whether it is deployed or not: one that is listed is closed to callers without a key, with an empty list to all. */
  readonly apiKeys: Readonly<Record<string, readonly ApiKey[]>>;
  /** Workers that had joined and not left: recovery waits for them. */
  readonly knownWorkers: readonly WorkerId[];
}

export interface WorkerState {
  readonly id: WorkerId;
  readonly host: HostId;
  readonly incarnation: number;
  readonly capabilities: Capabilities;
  readonly connected: boolean;
  /** When its control link went away; null while it is up. */
  readonly silentSinceMs: number | null;
  /** Has reported since it joined: what it holds is known. */
  readonly reported: boolean;
  readonly ingress: IngressReport | null;
}

/**
 * pending: wants a worker. starting: placed. running: was ready and is in force. stopping: to be drained; gone when the worker's report lacks it.
 */
export type ReplicaPhase = "pending" | "starting" | "running" | "stopping";

export interface Replica {
  readonly id: ReplicaId;
  readonly app: AppName;
  readonly deployment: string;
  readonly phase: ReplicaPhase;
  readonly code: number;
  readonly config: number;
  readonly rank: number;
  readonly worker: WorkerId | null;
  readonly reserved: Resources;
  readonly createdAtMs: number;
  /** Its worker has reported it at least once: missing from a later report means gone. */
  readonly seen: boolean;
  readonly report: ReplicaReport | null;
  /** Why it can't be placed, one sentence per worker. */
  readonly reason: string;
}

export interface AutoscaleMemory {
  /** Total requests (queued and running) over time, oldest first. */
  readonly samples: readonly { readonly atMs: number; readonly total: number }[];
  /** Since when decisions point up (or down) without a break. */
  readonly upSinceMs: number | null;
  readonly downSinceMs: number | null;
}

export interface DeploymentState {
  readonly id: DeploymentId;
  readonly status: DeploymentStatus;
  readonly trigger: DeploymentTrigger;
  readonly message: string;
  /** Replicas wanted now, after capacity, scaler and autoscaling; null until the first plan. */
  readonly target: number | null;
  /** Starts that failed in a row at the present version. */
  readonly failures: number;
  readonly lastFailure: { readonly atMs: number; readonly error: string } | null;
  /** A replica of the present version was ready at least once. */
  readonly everRan: boolean;
  readonly autoscale: AutoscaleMemory;
}

export interface IngressStatsState {
  readonly ingress: IngressId;
  readonly atMs: number;
  /** By deployment id: queued and ongoing requests. */
  readonly load: Readonly<Record<string, { readonly queued: number; readonly ongoing: number }>>;
}

/** An ingress that is no longer wanted and still runs. */
export interface Draining {
  readonly sinceMs: number;
  /** Nothing runs there, and whoever looks has seen it: it may go. */
  readonly over: boolean;
}

export interface State {
  readonly term: number;
  /** State of the generator of replica suffixes: chance comes in with the start event, and is a value from then on. */
  readonly random: number;
  readonly headHost: HostId;
  readonly desired: DesiredState;
  /** Null when over. While set: no placement, no stop, no scaling, no smaller routing table. */
  readonly recovery: { readonly untilMs: number } | null;
  readonly workers: Readonly<Record<string, WorkerState>>;
  readonly replicas: Readonly<Record<string, Replica>>;
  readonly deployments: Readonly<Record<string, DeploymentState>>;
  readonly stats: Readonly<Record<string, IngressStatsState>>;
  /** By host. */
  readonly draining: Readonly<Record<string, Draining>>;
  /** Replicas whose tickets are no longer good though a copy may still run, newest last, bounded. */
  readonly revoked: readonly ReplicaId[];
}

export const NOTHING: Resources = { cpus: 0, gpus: 0, memory: 0, custom: {} };

export const emptyOptions: MeshOptions = {
  proxyLocation: "EveryNode",
  http: null,
  pinned: false,
  grpc: null,
  loggingConfig: null,
  targetCapacity: null,
  warnings: [],
};

export const emptyDesired: DesiredState = {
  schema: DESIRED_SCHEMA,
  generation: 0,
  options: emptyOptions,
  apps: {},
  apiKeys: {},
  knownWorkers: [],
};

/** State right after a start: nothing is known of workers; recovering if some should be there. */
export function initialState(start: {
  term: number;
  random: number;
  headHost: HostId;
  desired: DesiredState;
  nowMs: number;
  recoveryMs: number;
}): State {
  const known = start.desired.knownWorkers.length > 0;
  return {
    term: start.term,
    random: start.random >>> 0,
    headHost: start.headHost,
    desired: start.desired,
    recovery: known ? { untilMs: start.nowMs + start.recoveryMs } : null,
    workers: {},
    replicas: {},
    deployments: {},
    stats: {},
    draining: {},
    revoked: [],
  };
}

export const replicasOf = (state: State, app: string, deployment: string): Replica[] =>
  Object.values(state.replicas).filter((r) => r.app === app && r.deployment === deployment);
