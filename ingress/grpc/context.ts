/** What the gRPC files of the ingress share: the mesh, time and chance as arguments, who to tell when a call is over. */
import type { Finished } from "../http/context.ts";
import type { Mesh } from "../mesh.ts";

export interface GrpcContext {
  readonly mesh: Mesh;
  readonly requestTimeoutS: number | null;
  /** Names in `grpc_servicer_functions` as far as they name a service: known even while no application serves them. */
  readonly configured: readonly string[];
  /** ms, monotonic. */
  now(): number;
  /** The coordinator's clock as well as known, ms since 1970. */
  meshTime(): number;
  after(ms: number, callback: () => void): () => void;
  freshId(): string;
  started(): void;
  finished(call: Finished): void;
  log(message: string): void;
}
