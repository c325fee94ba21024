/**
 * What the agent needs of the place it runs in: clock, chance, control connection, children, blobs, models.
 * Implemented by worker/node (processes) and worker/browser (Web Workers); tests and the simulator have their own.
 */
import type { Manifest } from "../../protocol/artefact.ts";
import type { IngressSpec } from "../../protocol/control.ts";
import type {
  FromIngress,
  FromReplica,
  LocatedModel,
  ReplicaOptions,
  ToIngress,
  ToReplica,
} from "../../protocol/local.ts";

/** Calls off what it was returned for. */
export type Cancel = () => void;

export interface Clock {
  /** ms since 1970 by the clock that stood at the start; never goes back. */
  now(): number;
  after(ms: number, callback: () => void): Cancel;
  /** In [0, 1). */
  random(): number;
}

export interface ControlConnection {
  send(message: string): void;
  close(reason: string): void;
}
export interface ControlConnectionEvents {
  onOpen(): void;
  onMessage(message: string): void;
  /** Once, also when it never opened. */
  onClose(reason: string): void;
}

/** A child that runs. After `onExit` nothing follows. */
export interface Child<Message> {
  readonly pid: number | null;
  tell(message: Message): void;
  /** Without mercy (SIGKILL, terminate). */
  kill(): void;
}
export interface ChildEvents<Message> {
  onMessage(message: Message): void;
  /** `how`: a sentence for people, with the end of what it printed where that is known. */
  onExit(how: string): void;
}

export interface LogRequest {
  readonly replica: string;
  readonly reader: string;
  readonly follow: boolean;
  readonly tailBytes: number;
}

export interface AgentPlatform extends Clock {
  connect(url: string, events: ControlConnectionEvents): ControlConnection;
  /** Verified by hash. `ticket`: the worker's credential of now. */
  fetchManifest(artefact: string, ticket: string): Promise<Manifest>;
  /** Fetches the bundle for this kind of worker, verified by hash; where a replica finds it: a path or URL. */
  fetchBundle(manifest: Manifest, ticket: string): Promise<string>;
  locateModel(
    name: string,
    provider: "webgpu" | "native" | "wasm",
    ticket: string,
    /** `leftS`: s that this may still take, where that can be told. */
    onProgress: (doing: string, leftS?: number) => void,
    slotLength: number | undefined,
  ): Promise<LocatedModel>;
  startReplica(options: ReplicaOptions, events: ChildEvents<FromReplica>): Child<ToReplica>;
  /** Starts the host's ingress; the platform sees to it that one that is started again takes the ports it had. Null: this worker can only dial out. */
  readonly startIngress: ((spec: IngressSpec, events: ChildEvents<FromIngress>) => Child<ToIngress>) | null;
  /** Sends a replica's log to a reader that waits at the coordinator. */
  sendLog(request: LogRequest, ticket: string): void;
  /** Called with every new ticket, so that a restarted agent can come back without a join token. */
  keepTicket(ticket: string): void;
}
