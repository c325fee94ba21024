/** Specs and assignments for tests of the agent: whole ones, of which a test says only what it is about. */
import { grpcOptionsSchema, httpOptionsSchema } from "../../../protocol/config.ts";
import type { Assignment, IngressSpec, ReplicaSpec } from "../../../protocol/control.ts";

export function replicaSpec(replica: string, change: Partial<ReplicaSpec> = {}): ReplicaSpec {
  return {
    replica,
    incarnation: 1,
    app: "app",
    deployment: "D",
    artefact: "a".repeat(64),
    ticket: "ticket",
    maxOngoingRequests: 5,
    gracefulShutdownTimeoutS: 20,
    gracefulShutdownWaitLoopS: 2,
    healthCheckPeriodS: 10,
    healthCheckTimeoutS: 30,
    userConfig: null,
    userConfigVersion: 1,
    envVars: {},
    cpus: 1,
    gpus: 0,
    memory: 0,
    rank: 0,
    routePrefix: "/",
    ...change,
  };
}

export function ingressSpec(ingress: string, port = 8000): IngressSpec {
  return { ingress, ticket: "ticket", http: httpOptionsSchema.parse({ port }), grpc: grpcOptionsSchema.parse({}) };
}

export function assignment(
  revision: number,
  replicas: readonly ReplicaSpec[],
  ingress: IngressSpec | null = null,
  term = 1,
): Assignment {
  return { type: "assignment", version: { term, revision }, replicas: [...replicas], ingress, ingresses: [] };
}
