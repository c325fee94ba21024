/**
 * The routing table: all that an ingress needs to serve, sent whole by the coordinator, kept on the ingress's disk.
 * A replica is used when the table lists it as ready and its link is up.
 */
import * as z from "zod";
import { apiKeySchema } from "./api-key.ts";
import { backpressureConfigSchema, grpcOptionsSchema, httpOptionsSchema, loggingConfigSchema } from "./config.ts";

export const versionSchema = z.strictObject({ term: z.number().int(), revision: z.number().int() });

export const routedReplicaSchema = z.strictObject({
  replica: z.string(),
  worker: z.string(),
  host: z.string(),
  incarnation: z.number(),
  state: z.enum(["ready", "draining"]),
});

export const routedDeploymentSchema = z.strictObject({
  app: z.string(),
  name: z.string(),
  maxOngoingRequests: z.number(),
  maxQueuedRequests: z.number(),
  /** Absent: 503. */
  backpressure: backpressureConfigSchema.optional(),
  retry: z.enum(["none", "no-output"]),
  /** How the ingress words what it answers in its place. Absent: as Ray Serve does. */
  errorFormat: z.enum(["openai"]).optional(),
  /** Set when it failed to deploy and no replica runs: requests are answered 503 at once. */
  unavailable: z.boolean(),
  replicas: z.array(routedReplicaSchema),
});

export const routedAppSchema = z.strictObject({
  name: z.string(),
  routePrefix: z.string().nullable(),
  ingress: z.string(),
  loggingConfig: loggingConfigSchema.nullish(),
  /** Assets of the artefact that the ingress needs (descriptors of gRPC services): base64 FileDescriptorSet. */
  grpcDescriptors: z.string().optional(),
  /** `package.Service` names that it serves. */
  grpcServices: z.array(z.string()).default([]),
  /** Callers need one of these; none of them left: nobody can call it. Absent: anybody can. */
  apiKeys: z.array(apiKeySchema).optional(),
});

export const routingTableSchema = z.strictObject({
  version: versionSchema,
  keys: z.array(z.strictObject({ kid: z.string(), key: z.string() })),
  /** Replica ids whose tickets are no longer good. */
  revoked: z.array(z.string()),
  apps: z.array(routedAppSchema),
  deployments: z.array(routedDeploymentSchema),
  http: httpOptionsSchema,
  grpc: grpcOptionsSchema,
  loggingConfig: loggingConfigSchema.nullish(),
  /** The host of this ingress is being emptied. */
  draining: z.boolean(),
  /** This ingress is on the coordinator's host: ready even before a replica runs. */
  head: z.boolean(),
});
export type RoutingTable = z.output<typeof routingTableSchema>;
export type RoutedDeployment = z.output<typeof routedDeploymentSchema>;
export type ErrorFormat = NonNullable<RoutedDeployment["errorFormat"]>;
export type RoutedReplica = z.output<typeof routedReplicaSchema>;
export type RoutedApp = z.output<typeof routedAppSchema>;
