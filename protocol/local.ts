/**
 * Messages between a parent and the children it starts on one machine (Node's IPC channel; postMessage in a tab).
 * Both ends are one build, so these are types without validation.
 */
import type { Manifest } from "./artefact.ts";
import type { Capabilities, IngressAddress, IngressReport, IngressSpec, ReplicaSpec } from "./control.ts";
import type { HttpOptions } from "./config.ts";
import type { EngineReport } from "./engine-stats.ts";
import type { ErrorCode } from "./errors.ts";
import type { ListedFile, ModelListing } from "./model-listing.ts";

/** File descriptor of the pipe by which a child sees its parent's death (node/parent.ts). */
export const PARENT_FD = 4;

/** First message to every child process; the child answers `ready` or `failed`, once. */
export interface Start<Options> {
  readonly type: "start";
  readonly options: Options;
}
export interface Ready<Result> {
  readonly type: "ready";
  readonly result: Result;
}
/** One sentence that says what is wrong and what to do; exit code as in errors.ts. */
export interface Failed {
  readonly type: "failed";
  readonly exit: number;
  readonly message: string;
}

/** From the coordinator, agents and ingresses every ALIVE_MS: their parent kills and starts again what is silent. (A replica's says more.) */
export interface Alive {
  readonly type: "alive";
}

// --- coordinator (started by the command) ---

export interface CoordinatorOptions {
  readonly dataDir: string;
  /** Port 0: any free one. */
  readonly operators: { readonly host: string; readonly port: number };
  readonly mesh: {
    readonly host: string;
    readonly port: number;
    readonly advertise: readonly string[];
    /** Files (PEM). Neither these nor `insecure`, off loopback: a certificate of its own. */
    readonly cert?: string;
    readonly key?: string;
    readonly insecure: boolean;
  };
  /** Folder under which a bare PUT's import_path is looked up. */
  readonly appDir: string;
  /** Whose desired state: that of a mesh which stays, or of one command that serves its own applications, where every run begins empty. */
  readonly state: "mesh" | "run";
  /** Its parent starts it again: a run goes on with what it had. */
  readonly again: boolean;
  readonly insecureLocalApi: boolean;
  readonly requireApproval: boolean;
  /** Client listeners before the first deploy says so. */
  readonly http: Partial<HttpOptions> | null;
  readonly logLevel: string;
}
export interface CoordinatorReady {
  readonly operatorsUrl: string;
  /** As seen from this machine, with the fingerprint where there is TLS (address.ts): a certificate for a name says nothing about 127.0.0.1. */
  readonly meshUrl: string;
  /** File that holds the admin token (0600). */
  readonly adminTokenFile: string;
  /** A join token for the worker that the parent starts next; many uses, this host only. */
  readonly localJoinToken: string;
  readonly hostId: string;
}

// --- worker agent (started by the command) ---

export interface AgentOptions {
  readonly dataDir: string;
  /** Addresses (address.ts) of the mesh port. */
  readonly meshUrls: readonly string[];
  readonly joinToken: string;
  readonly hostId: string | null;
  readonly name: string;
  readonly allowSoftwareGpu: boolean;
  /** Overrides of what was measured. */
  readonly cpus: number | null;
  readonly gpus: number | null;
  readonly resources: Readonly<Record<string, number>>;
  /** "auto" or one provider only: a test's or a person's wish. */
  readonly device: "auto" | "webgpu" | "native" | "wasm";
  /**
   * Listener of this host's ingress for data links, should it be assigned one. Port 0: any. `names`: under which other machines reach that port
   * (none: by the host itself); `advertise`: whole URLs, where a port is forwarded. `disabled`: dial out only.
   */
  readonly ingressMesh: {
    readonly host: string;
    readonly port: number;
    readonly names: readonly string[];
    readonly advertise: readonly string[];
    readonly disabled: boolean;
  };
  readonly logLevel: string;
}
export interface AgentReady {
  readonly workerId: string;
  readonly capabilities: Capabilities;
}

// --- ingress (started by the agent) ---

export interface IngressOptions {
  readonly dataDir: string;
  readonly host: string;
  readonly coordinatorUrls: readonly string[];
  /** As the agent was told. `secure`: TLS for other machines, with a certificate of this host's own. */
  readonly mesh: Omit<AgentOptions["ingressMesh"], "disabled"> & { readonly secure: boolean };
  readonly spec: IngressSpec;
  readonly logLevel: string;
}
/** Agent to ingress while it runs. */
export type ToIngress =
  | { readonly type: "spec"; readonly spec: IngressSpec }
  | { readonly type: "stop"; readonly drainMs: number };
/** Ingress to agent: a report whenever it changes, and after `ready`. */
export type FromIngress =
  | { readonly type: "report"; readonly report: IngressReport }
  | Alive
  | { readonly type: "stopped" };

// --- replica (started by the agent; process or dedicated Web Worker) ---

export interface ReplicaOptions {
  readonly spec: ReplicaSpec;
  readonly manifest: Manifest;
  /** Where the bundle is: a file path in Node, a URL in a tab. */
  readonly bundle: string;
  readonly ingresses: readonly IngressAddress[];
  readonly worker: { readonly id: string; readonly host: string; readonly kind: "node" | "browser" };
  readonly device: "auto" | "webgpu" | "native" | "wasm";
  readonly allowSoftwareGpu: boolean;
  /** Ask of the agent, answered by `model`. */
  readonly logLevel: string;
}
export type ToReplica =
  | { readonly type: "ingresses"; readonly ingresses: readonly IngressAddress[] }
  | {
      readonly type: "reconfigure";
      readonly userConfig: unknown;
      readonly userConfigVersion: number;
      readonly maxOngoingRequests: number;
      readonly ticket: string;
    }
  /** Drain: goaway on every link, finish what runs, then exit 0. */
  | { readonly type: "stop"; readonly timeoutMs: number; readonly waitLoopMs: number }
  | { readonly type: "model"; readonly id: number; readonly model: LocatedModel | null; readonly error: string | null }
  /** What another deployment of the application does on this worker while it loads; null: no more. */
  | {
      readonly type: "loading";
      readonly deployment: string;
      readonly doing: string | null;
      readonly leftS: number | undefined;
    };
export type FromReplica =
  | {
      readonly type: "status";
      readonly state: "starting" | "ready" | "unhealthy" | "stopping" | "failed";
      readonly progress?: string;
      readonly error?: string;
      readonly reconfigureError?: string;
      readonly userConfigVersion: number;
      readonly ongoing: number;
      readonly maxOngoingRequests?: number;
    }
  /** Sent every ALIVE_MS from the main thread: a replica that is silent is checked and then replaced. */
  | { readonly type: "alive"; readonly ongoing: number; readonly engines?: readonly EngineReport[] }
  | {
      readonly type: "needModel";
      readonly id: number;
      readonly name: string;
      readonly provider: "webgpu" | "native" | "wasm";
      /** Tokens of its slots: some models are prepared otherwise for long ones. */
      readonly slotLength?: number;
    }
  | { readonly type: "log"; readonly level: "info" | "warn" | "error"; readonly text: string };

/** Where a model is for the engine: prepared files (Node), or the files it is made from, at the mesh (tab). `url` is that of the listing, a file's is below it. */
export type LocatedModel =
  | { readonly kind: "prepared"; readonly directory: string }
  | { readonly kind: "mesh"; readonly url: string; readonly listing: ModelListing; readonly authorization: string };

// --- finder of models for tabs (started by the coordinator) ---

export interface LocateModel {
  readonly name: string;
  readonly dataDir: string;
  /** A model that is named by its path must lie in here. */
  readonly appDir: string;
}
/** A listing with the places of its files on this disk. */
export interface FoundModel extends Pick<ModelListing, "entry"> {
  readonly files: readonly (ListedFile & { readonly path: string; readonly modifiedMs: number })[];
}
/** One that can't be had, in words for the one who asked. */
export interface ModelRefusal {
  readonly code: ErrorCode;
  readonly message: string;
}

// --- builder (started by the command and by the coordinator) ---

export interface BuildRequest {
  readonly appDir: string;
  readonly importPath: string;
  readonly args: Readonly<Record<string, unknown>>;
  /** Folder that receives blobs, each named by its SHA-256. */
  readonly blobs: string;
  /** `grpc_options.grpc_servicer_functions`: every application is built with all of them, and serves those that its folder has. */
  readonly grpcServicers?: readonly string[];
}
export interface BuildResult {
  /** SHA-256 of the manifest, which is itself a blob. */
  readonly artefact: string;
  readonly manifest: Manifest;
  readonly blobs: readonly string[];
  /** Files that were read: what `--reload` watches. */
  readonly inputs: readonly string[];
  /** Entries of `grpcServicers` whose file the application's folder doesn't have, one sentence each. An error when no application has it. */
  readonly grpcMissing: readonly { readonly entry: string; readonly why: string }[];
}
