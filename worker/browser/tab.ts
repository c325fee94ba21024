/** What the page and the agent's Web Worker say to each other, and what an outer program (launcher-main.ts) may see of it. Types only. */
import type { Capabilities } from "../../protocol/control.ts";
import type { ReplicaOptions } from "../../protocol/local.ts";

/** Who this tab is; kept over reloads. */
export interface TabIdentity {
  readonly workerId: string;
  readonly hostId: string;
  readonly incarnation: number;
  readonly ticket: string | null;
}

/** What a person may wish of this worker; null: found out. */
export interface TabOptions {
  readonly name: string;
  readonly device: ReplicaOptions["device"];
  readonly allowSoftwareGpu: boolean;
  readonly cpus: number | null;
  readonly gpus: number | null;
  readonly resources: Readonly<Record<string, number>>;
}

export type ToAgent =
  | { readonly type: "start"; readonly token: string; readonly identity: TabIdentity; readonly options: TabOptions }
  | { readonly type: "leave"; readonly reason: string };

export interface ReplicaShown {
  readonly replica: string;
  readonly state: string;
  readonly progress: string;
  readonly ongoing: number;
}

/** `code`: of the mesh's refusal (protocol/errors.ts). */
export type FromAgent =
  | { readonly type: "joined"; readonly capabilities: Capabilities }
  | { readonly type: "down"; readonly reason: string }
  | { readonly type: "refused"; readonly code: string; readonly message: string }
  | { readonly type: "ticket"; readonly ticket: string }
  | { readonly type: "replicas"; readonly replicas: readonly ReplicaShown[] }
  | { readonly type: "left" };
