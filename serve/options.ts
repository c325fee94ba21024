/**
 * Options of a deployment as code writes them (Ray's, in camelCase), and their snake_case form, which is what travels and is checked.
 */
import type * as z from "zod";
import {
  ACTOR_OPTION_NAMES,
  AUTOSCALING_OPTION_NAMES,
  BACKPRESSURE_OPTION_NAMES,
  OPTION_NAMES,
  deploymentSchema,
  pathText,
} from "../protocol/config.ts";
import { SkeinError } from "../protocol/errors.ts";

/** What a replica needs of its worker (Ray's `ray_actor_options`). */
export interface ActorOptions {
  readonly numCpus?: number;
  /** Fractions of a GPU, or "auto": a GPU if a worker has one free, else none. */
  readonly numGpus?: number | "auto";
  /** Bytes. */
  readonly memory?: number;
  readonly resources?: Readonly<Record<string, number>>;
  readonly runtimeEnv?: Readonly<Record<string, unknown>>;
}

/** Bounds and pace of autoscaling (Ray's `autoscaling_config`); times in s. */
export interface AutoscalingOptions {
  readonly minReplicas?: number;
  readonly initialReplicas?: number | null;
  readonly maxReplicas?: number;
  readonly targetOngoingRequests?: number;
  readonly upscaleDelayS?: number;
  readonly downscaleDelayS?: number;
  readonly downscaleToZeroDelayS?: number | null;
  readonly lookBackPeriodS?: number;
  readonly upscalingFactor?: number | null;
  readonly downscalingFactor?: number | null;
  readonly aggregationFunction?: "mean" | "max" | "min";
}

/** The answer to a request that finds the queue full (Ray's `backpressure_config`). */
export interface BackpressureOptions {
  /** Status of the answer to a request that finds the queue full. Default 503. */
  readonly statusCode?: number;
  /** s; sent with it as `retry-after`. */
  readonly retryAfterS?: number | null;
}

/** Options of a deployment: Ray's, in camelCase. What a configuration says wins over them; times in s. */
export interface DeploymentOptions {
  /** Default: the name of the class or function. */
  readonly name?: string;
  readonly numReplicas?: number | "auto" | null;
  /** Requests that one replica runs at a time; it refuses more. Default 5, with an engine its number of slots. */
  readonly maxOngoingRequests?: number;
  /** Requests that wait per ingress before callers get 503; -1: no limit. */
  readonly maxQueuedRequests?: number;
  /** Any JSON; handed to `reconfigure` at start and whenever it changes. */
  readonly userConfig?: unknown;
  readonly autoscalingConfig?: AutoscalingOptions | null;
  readonly gracefulShutdownWaitLoopS?: number;
  readonly gracefulShutdownTimeoutS?: number;
  readonly healthCheckPeriodS?: number;
  readonly healthCheckTimeoutS?: number;
  readonly rayActorOptions?: ActorOptions;
  readonly maxReplicasPerNode?: number | null;
  /** Share of the replicas that an update replaces at a time. */
  readonly rollingUpdatePercentage?: number;
  /** Replicas that an update may start beyond `numReplicas`, in percent of it, before it stops old ones. Default 0: none. */
  readonly maxSurgePercent?: number;
  /** What clients are told when `maxQueuedRequests` wait already. */
  readonly backpressureConfig?: BackpressureOptions | null;
  readonly maxConstructorRetryCount?: number;
  readonly loggingConfig?: Readonly<Record<string, unknown>> | null;
  /** "no-output": a request that produced nothing yet is run again when its replica dies. Only for work without side effects. */
  readonly retry?: "none" | "no-output";
  /** Of an application's ingress: clients get what the mesh itself answers (no valid API key, no replica, timeout) as `{"error":{…}}`, as OpenAI's clients read it. Default: Ray Serve's plain text. */
  readonly errorFormat?: "openai";
}

type Table = Readonly<Record<string, string>>;

function rename(value: unknown, table: Table, where: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new SkeinError("INVALID_ARGUMENT", `${where} must be an object.`);
  const renamed: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    if (item === undefined) continue;
    const name = Object.hasOwn(table, key) ? table[key] : undefined;
    if (name === undefined) {
      const meant = Object.entries(table).find(
        ([camel, snake]) => snake === key || camel.toLowerCase() === key.toLowerCase(),
      )?.[0];
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `${where} has no option '${key}'.${meant === undefined ? ` Known are ${Object.keys(table).join(", ")}.` : ` Did you mean '${meant}'?`}`,
      );
    }
    renamed[name] = item;
  }
  return renamed;
}

/**
 * The options (without the name) in snake_case, checked with the schema that YAML is checked with.
 * Throws `INVALID_ARGUMENT` naming the deployment and the option.
 */
export function toWireOptions(deployment: string, options: DeploymentOptions): Record<string, unknown> {
  const { name: _, ...rest } = options;
  const where = `Deployment '${deployment}'`;
  const wire = rename(rest, OPTION_NAMES, where);
  if (wire["ray_actor_options"] !== undefined)
    wire["ray_actor_options"] = rename(wire["ray_actor_options"], ACTOR_OPTION_NAMES, `${where}: rayActorOptions`);
  if (wire["autoscaling_config"] != null)
    wire["autoscaling_config"] = rename(
      wire["autoscaling_config"],
      AUTOSCALING_OPTION_NAMES,
      `${where}: autoscalingConfig`,
    );
  if (wire["backpressure_config"] != null)
    wire["backpressure_config"] = rename(
      wire["backpressure_config"],
      BACKPRESSURE_OPTION_NAMES,
      `${where}: backpressureConfig`,
    );
  const checked = deploymentSchema.safeParse({ name: deployment, ...wire });
  if (!checked.success) throw new SkeinError("INVALID_ARGUMENT", `${where}: ${firstIssue(checked.error)}`);
  return wire;
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  if (issue === undefined) return "not valid";
  const path = pathText(issue.path.map((p) => (typeof p === "symbol" ? String(p) : p)));
  return path === "" ? issue.message : `${path}: ${issue.message}`;
}
