/**
 * The Serve configuration: Ray Serve's keys (snake_case, as in YAML and REST) with their bounds and defaults.
 * Unknown keys are refused with their path; keys that Ray knows and Skein doesn't support yet are accepted and listed by `unsupportedKeys`.
 * Knows nothing of YAML positions (cli/ joins paths and positions) and nothing of applications' code.
 */
import * as z from "zod";
import { APPLICATIONS_MAX, DEPLOYMENTS_MAX, NAME_MAX, REPLICAS_MAX } from "./limits.ts";

const name = z
  .string()
  .min(1, "Application names must be nonempty.")
  .max(NAME_MAX)
  .regex(/^[^#/\s\u0000-\u001f]+$/, "A name can't hold '#', '/', white space or control characters.");

const seconds = z.number().min(0);
const positiveSeconds = z.number().gt(0);
const port = z.number().int().min(0).max(65535);

export const routePrefix = z
  .string()
  .max(1024)
  .superRefine((value, context) => {
    const bad = (message: string): void => context.addIssue({ code: "custom", message });
    if (!value.startsWith("/")) bad(`Invalid route_prefix '${value}', must start with a forward slash ('/').`);
    else if (value !== "/" && value.endsWith("/"))
      bad(`Invalid route_prefix '${value}', should not end with '/' unless it is '/'.`);
    if (/[{}]/.test(value)) bad(`Invalid route_prefix '${value}', may not contain wildcards.`);
  });

export const importPath = z
  .string()
  .max(1024)
  .superRefine((value, context) => {
    const bad = (message: string): void => context.addIssue({ code: "custom", message });
    if (value.split(":").length > 2)
      bad(`Got invalid import path "${value}". An import path may have at most one colon.`);
    else if (/^[.:]|[.:]$/.test(value) && !value.startsWith("./") && !value.startsWith("../"))
      bad(`Got invalid import path "${value}". An import path may not start or end with a colon or dot.`);
    else if (!/[:.]/.test(value))
      bad(`Got invalid import path "${value}". Expected "module:export", for example "llm:chat".`);
  });

export const rayActorOptionsSchema = z.strictObject({
  runtime_env: z.record(z.string(), z.unknown()).optional(),
  num_cpus: z.number().min(0).optional(),
  /** Fractions of a GPU, or "auto": a GPU if a worker has one free, else none. */
  num_gpus: z.union([z.number().min(0), z.literal("auto")]).optional(),
  /** Bytes. */
  memory: z.number().min(0).optional(),
  resources: z.record(z.string(), z.number().min(0)).optional(),
  accelerator_type: z.string().optional(),
  label_selector: z.record(z.string(), z.string()).optional(),
  fallback_strategy: z.array(z.unknown()).optional(),
});

export const autoscalingConfigSchema = z
  .strictObject({
    min_replicas: z.number().int().min(0).default(1),
    initial_replicas: z.number().int().min(0).nullish(),
    max_replicas: z.number().int().min(1).max(REPLICAS_MAX).default(1),
    target_ongoing_requests: z.number().gt(0).default(2),
    upscale_delay_s: seconds.default(30),
    downscale_delay_s: seconds.default(600),
    downscale_to_zero_delay_s: seconds.nullish(),
    look_back_period_s: positiveSeconds.default(30),
    metrics_interval_s: positiveSeconds.default(10),
    upscaling_factor: z.number().gt(0).nullish(),
    downscaling_factor: z.number().gt(0).nullish(),
    aggregation_function: z.enum(["mean", "max", "min"]).default("mean"),
    policy: z.unknown().optional(),
    smoothing_factor: z.number().gt(0).optional(),
    upscale_smoothing_factor: z.number().gt(0).nullish(),
    downscale_smoothing_factor: z.number().gt(0).nullish(),
  })
  .superRefine((c, context) => {
    if (c.max_replicas < c.min_replicas)
      context.addIssue({
        code: "custom",
        path: ["max_replicas"],
        message: `max_replicas (${c.max_replicas}) must be greater than or equal to min_replicas (${c.min_replicas})!`,
      });
    if (c.initial_replicas != null && c.initial_replicas < c.min_replicas)
      context.addIssue({
        code: "custom",
        path: ["initial_replicas"],
        message: `min_replicas (${c.min_replicas}) must be less than or equal to initial_replicas (${c.initial_replicas})!`,
      });
    if (c.initial_replicas != null && c.initial_replicas > c.max_replicas)
      context.addIssue({
        code: "custom",
        path: ["initial_replicas"],
        message: `max_replicas (${c.max_replicas}) must be greater than or equal to initial_replicas (${c.initial_replicas})!`,
      });
  });

export const loggingConfigSchema = z.strictObject({
  encoding: z.enum(["TEXT", "JSON"]).optional(),
  log_level: z.union([z.string(), z.number()]).optional(),
  logs_dir: z.string().nullish(),
  enable_access_log: z.boolean().optional(),
  additional_log_standard_attrs: z.array(z.string()).optional(),
});

export const backpressureConfigSchema = z.strictObject({
  /** Of the answer to a request that finds the queue full. */
  status_code: z.number().int().min(400).max(599).default(503),
  /** Sent with it as `retry-after`. */
  retry_after_s: seconds.nullish(),
});

/** Options of a deployment, wherever they are given; unset means: what the code says. */
const deploymentOptions = {
  num_replicas: z.union([z.number().int().min(1).max(REPLICAS_MAX), z.literal("auto")]).nullish(),
  max_ongoing_requests: z.number().int().gt(0).optional(),
  max_queued_requests: z
    .number()
    .int()
    .refine((n) => n === -1 || n >= 1, "max_queued_requests must be -1 (no limit) or a positive integer.")
    .optional(),
  user_config: z.unknown().optional(),
  autoscaling_config: autoscalingConfigSchema.nullish(),
  graceful_shutdown_wait_loop_s: seconds.optional(),
  graceful_shutdown_timeout_s: seconds.optional(),
  health_check_period_s: positiveSeconds.optional(),
  health_check_timeout_s: positiveSeconds.optional(),
  ray_actor_options: rayActorOptionsSchema.optional(),
  placement_group_bundles: z.array(z.record(z.string(), z.number())).nullish(),
  placement_group_strategy: z.string().nullish(),
  placement_group_bundle_label_selector: z.unknown().optional(),
  max_replicas_per_node: z.number().int().min(1).max(100).nullish(),
  backpressure_config: backpressureConfigSchema.nullish(),
  /** Replicas that an update may start beyond the wanted number, in percent of it; 0: it stops old ones first. */
  max_surge_percent: z.number().min(0).max(100).optional(),
  request_router_config: z.unknown().optional(),
  gang_scheduling_config: z.unknown().optional(),
  deployment_actors: z.unknown().optional(),
  rolling_update_percentage: z.number().gt(0).max(1).optional(),
  logging_config: loggingConfigSchema.nullish(),
  max_constructor_retry_count: z.number().int().min(1).optional(),
  /** Skein: replay a request that produced nothing on another replica, whatever its method. */
  retry: z.enum(["none", "no-output"]).optional(),
  /** Skein: how the ingress words what it answers in the deployment's place; unset: as Ray Serve does. */
  error_format: z.enum(["openai"]).optional(),
} as const;

export const deploymentSchema = z.strictObject({ name, ...deploymentOptions }).superRefine((d, context) => {
  if (typeof d.num_replicas === "number" && d.autoscaling_config != null)
    context.addIssue({
      code: "custom",
      path: ["num_replicas"],
      message: "Manually setting num_replicas is not allowed when autoscaling_config is provided.",
    });
  if (d.max_replicas_per_node != null && d.placement_group_bundles != null)
    context.addIssue({
      code: "custom",
      path: ["max_replicas_per_node"],
      message: "Setting max_replicas_per_node is not allowed when placement_group_bundles is provided.",
    });
});

export const applicationSchema = z
  .strictObject({
    name: name.default("default"),
    route_prefix: routePrefix.nullable().default("/"),
    import_path: importPath,
    runtime_env: z.record(z.string(), z.unknown()).default({}),
    args: z.record(z.string(), z.unknown()).default({}),
    deployments: z.array(deploymentSchema).max(DEPLOYMENTS_MAX).default([]),
    autoscaling_policy: z.unknown().optional(),
    logging_config: loggingConfigSchema.nullish(),
    external_scaler_enabled: z.boolean().default(false),
    /** Skein: SHA-256 of an artefact that the client has built and uploaded; without it the coordinator builds `import_path`. */
    artefact: z
      .string()
      .regex(/^[0-9a-f]{64}$/, "Expected a SHA-256 in lower-case hex.")
      .optional(),
  })
  .superRefine((app, context) => {
    const auto = app.deployments
      .filter((d) => d.autoscaling_config != null || d.num_replicas === "auto")
      .map((d) => d.name);
    if (app.external_scaler_enabled && auto.length > 0)
      context.addIssue({
        code: "custom",
        path: ["external_scaler_enabled"],
        message: `external_scaler_enabled is set to True, but these deployments have autoscaling: ${auto.join(", ")}.`,
      });
    duplicates(app.deployments.map((d) => d.name)).forEach((d) =>
      context.addIssue({
        code: "custom",
        path: ["deployments"],
        message: `Found multiple configs for deployment "${d}". Please remove all duplicates.`,
      }),
    );
  });

export const httpOptionsSchema = z
  .strictObject({
    /** Ray's REST default is 0.0.0.0 and its CLI's 127.0.0.1; ours is 127.0.0.1 everywhere. */
    host: z.string().min(1).default("127.0.0.1"),
    port: port.default(8000),
    root_path: z.string().default(""),
    request_timeout_s: z.number().gt(0).nullish(),
    keep_alive_timeout_s: positiveSeconds.default(90),
    ssl_keyfile: z.string().nullish(),
    ssl_certfile: z.string().nullish(),
    ssl_keyfile_password: z.string().nullish(),
    ssl_ca_certs: z.string().nullish(),
    location: z.string().optional(),
    middlewares: z.unknown().optional(),
    num_cpus: z.number().optional(),
    /** Skein: origins that browsers may call from. */
    cors_origins: z.array(z.string()).default([]),
  })
  .superRefine((o, context) => {
    if ((o.ssl_keyfile == null) !== (o.ssl_certfile == null))
      context.addIssue({
        code: "custom",
        path: ["ssl_keyfile"],
        message: "ssl_keyfile and ssl_certfile must be given together.",
      });
  });

export const grpcOptionsSchema = z.strictObject({
  port: port.default(9000),
  grpc_servicer_functions: z.array(z.string()).default([]),
  /** Absent: on. */
  enable_reflection: z.boolean().optional(),
  request_timeout_s: z.number().gt(0).nullish(),
});

export const deploySchema = z
  .strictObject({
    proxy_location: z.enum(["EveryNode", "HeadOnly", "Disabled"]).default("EveryNode"),
    http_options: httpOptionsSchema.prefault({}),
    grpc_options: grpcOptionsSchema.prefault({}),
    logging_config: loggingConfigSchema.nullish(),
    applications: z.array(applicationSchema).max(APPLICATIONS_MAX),
    target_capacity: z.number().min(0).max(100).nullish(),
  })
  .superRefine((config, context) => {
    duplicates(config.applications.map((a) => a.name)).forEach((app) =>
      context.addIssue({
        code: "custom",
        path: ["applications"],
        message: `Found multiple configs for application "${app}". Please remove all duplicates.`,
      }),
    );
    duplicates(config.applications.flatMap((a) => (a.route_prefix === null ? [] : [a.route_prefix]))).forEach(
      (prefix) =>
        context.addIssue({
          code: "custom",
          path: ["applications"],
          message: `Found duplicate applications for route prefix "${prefix}". Please ensure each application's route_prefix is unique.`,
        }),
    );
  });

function duplicates(values: readonly string[]): string[] {
  return [...new Set(values.filter((value, index) => values.indexOf(value) !== index))];
}

export type DeployConfig = z.output<typeof deploySchema>;
export type DeployInput = z.input<typeof deploySchema>;
export type ApplicationConfig = z.output<typeof applicationSchema>;
export type DeploymentConfig = z.output<typeof deploymentSchema>;
export type HttpOptions = z.output<typeof httpOptionsSchema>;
export type GrpcOptions = z.output<typeof grpcOptionsSchema>;
export type AutoscalingConfig = z.output<typeof autoscalingConfigSchema>;
export type BackpressureConfig = z.output<typeof backpressureConfigSchema>;
export type LoggingConfig = z.output<typeof loggingConfigSchema>;
export type RayActorOptions = z.output<typeof rayActorOptionsSchema>;

/** Keys that Ray Serve has and Skein accepts without effect yet, by place (`*` for any index). One warning each. */
export const UNSUPPORTED: readonly string[] = [
  "http_options.location",
  "http_options.middlewares",
  "http_options.num_cpus",
  "applications.*.autoscaling_policy",
  "applications.*.deployments.*.placement_group_bundles",
  "applications.*.deployments.*.placement_group_strategy",
  "applications.*.deployments.*.placement_group_bundle_label_selector",
  "applications.*.deployments.*.request_router_config",
  "applications.*.deployments.*.gang_scheduling_config",
  "applications.*.deployments.*.deployment_actors",
  "applications.*.deployments.*.ray_actor_options.accelerator_type",
  "applications.*.deployments.*.ray_actor_options.label_selector",
  "applications.*.deployments.*.ray_actor_options.fallback_strategy",
];

/** Paths of keys in `input` that have no effect in this version, as `applications[0].autoscaling_policy`. */
export function unsupportedKeys(input: unknown): string[] {
  const found: string[] = [];
  const walk = (value: unknown, pattern: readonly string[], path: string): void => {
    const [key, ...rest] = pattern;
    if (key === undefined) {
      if (value != null) found.push(path);
    } else if (key === "*") {
      if (Array.isArray(value)) value.forEach((item, i) => walk(item, rest, `${path}[${i}]`));
    } else if (typeof value === "object" && value !== null && Object.hasOwn(value, key))
      walk((value as Record<string, unknown>)[key], rest, path === "" ? key : `${path}.${key}`);
  };
  for (const pattern of UNSUPPORTED) walk(input, pattern.split("."), "");
  return found;
}

/** Ray's defaults for what neither the configuration nor the code says. */
export const DEPLOYMENT_DEFAULTS = {
  num_replicas: 1,
  max_ongoing_requests: 5,
  max_queued_requests: -1,
  graceful_shutdown_wait_loop_s: 2,
  graceful_shutdown_timeout_s: 20,
  health_check_period_s: 10,
  health_check_timeout_s: 30,
  rolling_update_percentage: 0.2,
  max_surge_percent: 0,
  max_constructor_retry_count: 20,
  num_cpus: 1,
  num_gpus: 0,
} as const;

/** Option names in code (camelCase) beside those of YAML and REST. The one table that maps the two. */
export const OPTION_NAMES = {
  numReplicas: "num_replicas",
  maxOngoingRequests: "max_ongoing_requests",
  maxQueuedRequests: "max_queued_requests",
  userConfig: "user_config",
  autoscalingConfig: "autoscaling_config",
  gracefulShutdownWaitLoopS: "graceful_shutdown_wait_loop_s",
  gracefulShutdownTimeoutS: "graceful_shutdown_timeout_s",
  healthCheckPeriodS: "health_check_period_s",
  healthCheckTimeoutS: "health_check_timeout_s",
  rayActorOptions: "ray_actor_options",
  maxReplicasPerNode: "max_replicas_per_node",
  rollingUpdatePercentage: "rolling_update_percentage",
  maxSurgePercent: "max_surge_percent",
  backpressureConfig: "backpressure_config",
  maxConstructorRetryCount: "max_constructor_retry_count",
  loggingConfig: "logging_config",
  retry: "retry",
  errorFormat: "error_format",
} as const;
export const ACTOR_OPTION_NAMES = {
  numCpus: "num_cpus",
  numGpus: "num_gpus",
  memory: "memory",
  resources: "resources",
  runtimeEnv: "runtime_env",
} as const;
export const BACKPRESSURE_OPTION_NAMES = {
  statusCode: "status_code",
  retryAfterS: "retry_after_s",
} as const;
export const AUTOSCALING_OPTION_NAMES = {
  minReplicas: "min_replicas",
  initialReplicas: "initial_replicas",
  maxReplicas: "max_replicas",
  targetOngoingRequests: "target_ongoing_requests",
  upscaleDelayS: "upscale_delay_s",
  downscaleDelayS: "downscale_delay_s",
  downscaleToZeroDelayS: "downscale_to_zero_delay_s",
  lookBackPeriodS: "look_back_period_s",
  upscalingFactor: "upscaling_factor",
  downscalingFactor: "downscaling_factor",
  aggregationFunction: "aggregation_function",
} as const;

export interface ConfigIssue {
  /** Keys and indices from the root. */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Validates a whole configuration. Never throws for bad input: the issues say where and what. */
export function parseDeployConfig(
  input: unknown,
): { config: DeployConfig; issues?: undefined } | { config?: undefined; issues: ConfigIssue[] } {
  const result = deploySchema.safeParse(input);
  if (result.success) return { config: result.data };
  return {
    issues: result.error.issues.flatMap((issue): ConfigIssue[] => {
      const path = issue.path.map((p) => (typeof p === "symbol" ? String(p) : p));
      if (issue.code === "unrecognized_keys")
        return issue.keys.map((key) => ({ path: [...path, key], message: `Unknown key "${key}".` }));
      return [{ path, message: issue.message }];
    }),
  };
}

/** `applications[0].deployments[1].num_replicas`, "" for the root. */
export const pathText = (path: readonly (string | number)[]): string =>
  path.map((p, i) => (typeof p === "number" ? `[${p}]` : i === 0 ? p : `.${p}`)).join("");
