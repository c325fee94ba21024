/**
 * Control messages (JSON over one WebSocket at `/control` of the mesh port), between the coordinator and worker agents or ingresses.
 * Levels, not edges: whole assignments and whole reports, each with the version it answers; sent again on disagreement.
 * First message of the peer is `join`; the coordinator answers `welcome` or `refused` and closes.
 */
import * as z from "zod";
import { SkeinError } from "./errors.ts";
import { grpcOptionsSchema, httpOptionsSchema, loggingConfigSchema } from "./config.ts";
import { enginesSchema } from "./engine-stats.ts";
import { CONTROL_MESSAGE_MAX, MESSAGE_MAX, REPLICAS_MAX } from "./limits.ts";
import { routingTableSchema, versionSchema } from "./routes.ts";

const text = z.string().max(MESSAGE_MAX);

/** What a worker offers. `gpus` counts adapters that may be used (a software adapter only with --allow-software-gpu). */
export const capabilitiesSchema = z.strictObject({
  cpus: z.number().min(0),
  gpus: z.number().min(0),
  memory: z.number().min(0),
  resources: z.record(z.string(), z.number()).default({}),
  kind: z.enum(["node", "browser"]),
  /** "native", "wasm", "webgpu" that passed their check. */
  providers: z.array(z.string()),
  adapter: z.string().nullable(),
  platform: z.string(),
  name: z.string().max(200),
});
export type Capabilities = z.output<typeof capabilitiesSchema>;

/** Where replicas dial an ingress; every URL leads to its mesh listener. The relay path is tried last. */
export const ingressAddressSchema = z.strictObject({
  ingress: z.string(),
  host: z.string(),
  urls: z.array(z.string()),
  /** The worker's replicas that dial it; absent: all. Only where links with all would be too many (coordinator/subset.ts). */
  replicas: z.array(z.string()).max(REPLICAS_MAX).optional(),
});
export type IngressAddress = z.output<typeof ingressAddressSchema>;

/** Of CPUs, GPUs, bytes: fractions add up with rounding errors, and a millionth is nothing. */
export const RESOURCE_EPSILON = 1e-6;

/** One replica that a worker should hold. Leaving the list means: drain, then stop. */
export const replicaSpecSchema = z.strictObject({
  replica: z.string(),
  incarnation: z.number(),
  app: z.string(),
  deployment: z.string(),
  artefact: z.string(),
  ticket: z.string(),
  maxOngoingRequests: z.number(),
  /** Ray's options that the worker carries out, s. */
  gracefulShutdownTimeoutS: z.number(),
  gracefulShutdownWaitLoopS: z.number(),
  healthCheckPeriodS: z.number(),
  healthCheckTimeoutS: z.number(),
  userConfig: z.unknown(),
  /** Rises when userConfig changes; the report says which one is in force. */
  userConfigVersion: z.number(),
  envVars: z.record(z.string(), z.string()),
  /** Reserved for this replica. gpus 0: the engine must not take a GPU. */
  cpus: z.number(),
  gpus: z.number(),
  memory: z.number(),
  loggingConfig: loggingConfigSchema.nullish(),
  /** What the replica context shows. */
  rank: z.number(),
  routePrefix: z.string().nullable(),
});
export type ReplicaSpec = z.output<typeof replicaSpecSchema>;

/** The ingress that a worker's host should run. `http` null: no client listeners (before the first deploy, or Disabled). */
export const ingressSpecSchema = z.strictObject({
  ingress: z.string(),
  ticket: z.string(),
  http: httpOptionsSchema.nullable(),
  grpc: grpcOptionsSchema.nullable(),
});
export type IngressSpec = z.output<typeof ingressSpecSchema>;

export const replicaReportSchema = z.strictObject({
  replica: z.string(),
  incarnation: z.number(),
  /** starting: process, model, init. stopping: draining. failed: start failed (`startup`) or died later; stays until it leaves the assignment. */
  state: z.enum(["starting", "ready", "unhealthy", "stopping", "failed"]),
  /** Of starting: what it does now, as a person would say it ("loading model 62 %"). */
  progress: text.optional(),
  startup: z.boolean().optional(),
  error: text.optional(),
  /** Why user code's reconfigure failed; the replica goes on with the old config. */
  reconfigureError: text.optional(),
  pid: z.number().nullable(),
  startedAtMs: z.number().nullable(),
  userConfigVersion: z.number(),
  ongoing: z.number(),
  /** Set by an engine that derives it from its slots; overrides max_ongoing_requests when the deployment didn't say. */
  maxOngoingRequests: z.number().optional(),
});
export type ReplicaReport = z.output<typeof replicaReportSchema>;

export const ingressReportSchema = z.strictObject({
  ingress: z.string(),
  state: z.enum(["starting", "ready", "failed"]),
  error: text.optional(),
  /** URLs of its mesh listener as seen from its host (the coordinator adds what it knows). */
  urls: z.array(z.string()),
  http: z.strictObject({ host: z.string(), port: z.number() }).nullable(),
  grpc: z.strictObject({ host: z.string(), port: z.number() }).nullable(),
  pid: z.number().nullable(),
});
export type IngressReport = z.output<typeof ingressReportSchema>;

// --- peer to coordinator ---

const protocolRange = z.strictObject({ min: z.number(), max: z.number() });

export const joinSchema = z.strictObject({
  type: z.literal("join"),
  protocol: protocolRange,
  build: z.string().max(100),
  role: z.enum(["worker", "ingress"]),
  /** Worker: a join token the first time, the ticket of `welcome` later. Ingress: the ticket of its spec. */
  credential: z.string().max(16_384),
  /** Chosen by the worker and kept for its life; a ticket must name the same. */
  id: z.string().max(200),
  host: z.string().max(200),
  /** Rises with every process of this worker or ingress: the newest wins, an older one is told to go. */
  incarnation: z.number(),
  capabilities: capabilitiesSchema.optional(),
});

export const workerReportSchema = z.strictObject({
  type: z.literal("report"),
  /** The assignment this answers, null before the first. */
  held: versionSchema.nullable(),
  replicas: z.array(replicaReportSchema).max(REPLICAS_MAX),
  ingress: ingressReportSchema.nullable(),
});

/** What the coordinator needs of an ingress at a low rate: load for autoscaling and status. */
export const ingressStatsSchema = z.strictObject({
  type: z.literal("stats"),
  held: versionSchema.nullable(),
  deployments: z.array(
    z.strictObject({
      app: z.string(),
      deployment: z.string(),
      queued: z.number(),
      ongoing: z.number(),
      links: z.number(),
    }),
  ),
});

export const leaveSchema = z.strictObject({ type: z.literal("leave"), reason: text });
const pong = z.strictObject({ type: z.literal("pong") });

export const toCoordinatorSchema = z.discriminatedUnion("type", [
  joinSchema,
  workerReportSchema,
  ingressStatsSchema,
  enginesSchema,
  leaveSchema,
  pong,
]);
export type ToCoordinator = z.output<typeof toCoordinatorSchema>;
export type Join = z.output<typeof joinSchema>;
export type WorkerReport = z.output<typeof workerReportSchema>;
export type IngressStats = z.output<typeof ingressStatsSchema>;

// --- coordinator to peer ---

export const welcomeSchema = z.strictObject({
  type: z.literal("welcome"),
  /** The peer's credential from now on. */
  ticket: z.string(),
  term: z.number(),
  timeMs: z.number(),
  keys: z.array(z.strictObject({ kid: z.string(), key: z.string() })),
});
export const refusedSchema = z.strictObject({ type: z.literal("refused"), code: z.string(), message: text });
export const assignmentSchema = z.strictObject({
  type: z.literal("assignment"),
  version: versionSchema,
  replicas: z.array(replicaSpecSchema).max(REPLICAS_MAX),
  ingress: ingressSpecSchema.nullable(),
  /** Every ingress that this worker's replicas dial. */
  ingresses: z.array(ingressAddressSchema),
});
export const routesSchema = z.strictObject({ type: z.literal("routes"), table: routingTableSchema });
const ping = z.strictObject({ type: z.literal("ping") });
/** Where a reader's log stream goes: the agent opens `url` (mesh port, its ticket as credential) and sends the replica's log. */
export const logsSchema = z.strictObject({
  type: z.literal("logs"),
  replica: z.string(),
  reader: z.string(),
  follow: z.boolean(),
  tailBytes: z.number(),
});

export const fromCoordinatorSchema = z.discriminatedUnion("type", [
  welcomeSchema,
  refusedSchema,
  assignmentSchema,
  routesSchema,
  ping,
  logsSchema,
]);
export type FromCoordinator = z.output<typeof fromCoordinatorSchema>;
export type Welcome = z.output<typeof welcomeSchema>;
export type Assignment = z.output<typeof assignmentSchema>;

function parse<T>(schema: z.ZodType<T>, message: string): T {
  if (message.length > CONTROL_MESSAGE_MAX)
    throw new SkeinError(
      "PROTOCOL",
      `A control message of ${message.length} characters; the limit is ${CONTROL_MESSAGE_MAX}.`,
    );
  let value: unknown;
  try {
    value = JSON.parse(message);
  } catch (cause) {
    throw new SkeinError("PROTOCOL", "A control message is not JSON.", { cause });
  }
  const result = schema.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new SkeinError(
      "PROTOCOL",
      `A control message is not valid at ${issue?.path.join(".") || "its root"}: ${issue?.message ?? "unknown form"}.`,
    );
  }
  return result.data;
}

/** Both throw `PROTOCOL` with the path of what is wrong. */
export const parseToCoordinator = (message: string): ToCoordinator => parse(toCoordinatorSchema, message);
export const parseFromCoordinator = (message: string): FromCoordinator => parse(fromCoordinatorSchema, message);
