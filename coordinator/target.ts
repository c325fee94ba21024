/**
 * From configuration, code and defaults to what each deployment of an application should be: what the file says wins over what the code says.
 * Decides which changes need a new process (code), which are pushed (user config), and which only the coordinator uses (settings). Pure.
 */
import type { GraphDeployment, Manifest } from "../protocol/artefact.ts";
import { canonicalJson } from "../protocol/artefact.ts";
import {
  DEPLOYMENT_DEFAULTS,
  autoscalingConfigSchema,
  backpressureConfigSchema,
  deploymentSchema,
  type ApplicationConfig,
  type AutoscalingConfig,
  type DeploymentConfig,
  type RayActorOptions,
} from "../protocol/config.ts";
import { isReservedName } from "./names.ts";
import type { CodeVersion, DesiredDeployment, Settings, Target } from "./state.ts";

/** Versions of code and of user config that are kept for replicas which still have them. */
const VERSIONS_KEPT = 8;
/** `num_replicas: auto` means autoscaling up to this. */
const AUTO_MAX_REPLICAS = 100;

/** The application can't be what its configuration says; the message is what status shows. */
export class TargetError extends Error {}

/**
 * @param generation number for whatever is new; larger than all before
 * @throws TargetError when an override names a deployment that the code doesn't have, or an option of the code is invalid
 */
export function resolveTarget(
  config: ApplicationConfig,
  artefact: string,
  manifest: Manifest,
  previous: Target | null,
  generation: number,
): Target {
  const names = manifest.graph.deployments.map((d) => d.name);
  const reserved = names.find(isReservedName);
  if (reserved !== undefined) throw new TargetError(`Deployment '${reserved}': this name is reserved. Choose another.`);
  for (const override of config.deployments)
    if (!names.includes(override.name))
      throw new TargetError(
        `Deployment '${override.name}' does not exist. Available: [${names.map((n) => `'${n}'`).join(", ")}]`,
      );
  const deployments: Record<string, DesiredDeployment> = {};
  for (const graph of manifest.graph.deployments)
    deployments[graph.name] = resolveDeployment(
      config,
      artefact,
      manifest,
      graph,
      previous?.deployments[graph.name],
      generation,
    );
  return { config, artefact, manifest, deployments };
}

function resolveDeployment(
  app: ApplicationConfig,
  artefact: string,
  manifest: Manifest,
  graph: GraphDeployment,
  previous: DesiredDeployment | undefined,
  generation: number,
): DesiredDeployment {
  const options = mergeOptions(
    graph,
    app.deployments.find((d) => d.name === graph.name),
  );
  const actor = options.ray_actor_options ?? {};
  const code: CodeVersion = {
    artefact,
    requirements: {
      cpus: actor.num_cpus ?? DEPLOYMENT_DEFAULTS.num_cpus,
      gpus: actor.num_gpus ?? DEPLOYMENT_DEFAULTS.num_gpus,
      memory: actor.memory ?? 0,
      custom: actor.resources ?? {},
    },
    envVars: { ...envVars(app.runtime_env), ...envVars(actor.runtime_env) },
    maxReplicasPerNode: options.max_replicas_per_node ?? null,
    needsNode: manifest.bundles.browser === null ? (manifest.bundles.browserReason ?? "its code needs Node") : null,
  };
  const userConfig = options.user_config ?? null;
  const sameCode = previous !== undefined && canonicalJson(previous.codes[previous.code]) === canonicalJson(code);
  const sameConfig =
    previous !== undefined && canonicalJson(previous.configs[previous.config]) === canonicalJson(userConfig);
  const codeNumber = sameCode ? previous.code : generation;
  const configNumber = sameConfig ? previous.config : generation;
  return {
    name: graph.name,
    callees: graph.callees,
    settings: settingsOf(options, app, graph),
    shown: shownOptions(options, actor),
    code: codeNumber,
    config: configNumber,
    codes: kept(previous?.codes, codeNumber, code),
    configs: kept(previous?.configs, configNumber, userConfig),
    scaled: previous !== undefined && app.external_scaler_enabled ? previous.scaled : null,
  };
}

function kept<T>(before: Readonly<Record<number, T>> | undefined, number: number, value: T): Record<number, T> {
  const older = Object.entries(before ?? {})
    .filter(([key]) => Number(key) !== number)
    .slice(-(VERSIONS_KEPT - 1));
  return Object.fromEntries([...older, [String(number), value]]) as Record<number, T>;
}

/** Options of the code, then of the configuration; maps inside `ray_actor_options` are replaced key by key. */
function mergeOptions(graph: GraphDeployment, override: DeploymentConfig | undefined): DeploymentConfig {
  const coded = graph.options as Partial<DeploymentConfig>;
  const given = Object.fromEntries(
    Object.entries(override ?? {}).filter(([, value]) => value !== undefined),
  ) as Partial<DeploymentConfig>;
  const merged: Record<string, unknown> = { ...coded, ...given, name: graph.name };
  if (coded.ray_actor_options !== undefined || given.ray_actor_options !== undefined)
    merged["ray_actor_options"] = { ...coded.ray_actor_options, ...given.ray_actor_options };
  // One way of scaling replaces the other.
  if (given.autoscaling_config != null && given.num_replicas === undefined) delete merged["num_replicas"];
  if (typeof given.num_replicas === "number" && given.autoscaling_config === undefined)
    delete merged["autoscaling_config"];
  const result = deploymentSchema.safeParse(merged);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new TargetError(
    `Deployment '${graph.name}': ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid options"}`,
  );
}

function settingsOf(options: DeploymentConfig, app: ApplicationConfig, graph: GraphDeployment): Settings {
  const d = DEPLOYMENT_DEFAULTS;
  const auto = options.num_replicas === "auto";
  const autoscaling = auto
    ? autoScaling(options.autoscaling_config ?? autoscalingConfigSchema.parse({}))
    : (options.autoscaling_config ?? null);
  if (app.external_scaler_enabled && autoscaling !== null)
    throw new TargetError(
      `external_scaler_enabled is set to True, but deployment '${graph.name}' has autoscaling. Remove one of the two.`,
    );
  return {
    numReplicas: typeof options.num_replicas === "number" ? options.num_replicas : d.num_replicas,
    autoscaling,
    maxOngoingRequests: options.max_ongoing_requests ?? d.max_ongoing_requests,
    maxOngoingGiven: options.max_ongoing_requests !== undefined,
    maxQueuedRequests: options.max_queued_requests ?? d.max_queued_requests,
    backpressure: options.backpressure_config ?? backpressureConfigSchema.parse({}),
    gracefulShutdownTimeoutS: options.graceful_shutdown_timeout_s ?? d.graceful_shutdown_timeout_s,
    gracefulShutdownWaitLoopS: options.graceful_shutdown_wait_loop_s ?? d.graceful_shutdown_wait_loop_s,
    healthCheckPeriodS: options.health_check_period_s ?? d.health_check_period_s,
    healthCheckTimeoutS: options.health_check_timeout_s ?? d.health_check_timeout_s,
    rollingUpdatePercentage: options.rolling_update_percentage ?? d.rolling_update_percentage,
    maxSurgePercent: options.max_surge_percent ?? d.max_surge_percent,
    maxConstructorRetryCount: options.max_constructor_retry_count ?? d.max_constructor_retry_count,
    retry: options.retry ?? (graph.usesEngine ? "no-output" : "none"),
    ...(options.error_format === undefined ? {} : { errorFormat: options.error_format }),
    loggingConfig: options.logging_config ?? app.logging_config ?? null,
  };
}

/** A maximum of 1 is the schema's default: with `auto` it means that none was given. */
const autoScaling = (config: AutoscalingConfig): AutoscalingConfig => ({
  ...config,
  max_replicas: config.max_replicas === 1 ? AUTO_MAX_REPLICAS : config.max_replicas,
});

/** `deployment_config` of `GET`: Ray's keys with defaults filled in. */
function shownOptions(options: DeploymentConfig, actor: RayActorOptions): Record<string, unknown> {
  const {
    num_cpus,
    num_gpus,
    max_constructor_retry_count: _retries,
    retry: _retry,
    ...defaults
  } = { ...DEPLOYMENT_DEFAULTS, retry: undefined };
  const { num_replicas, ...others } = defaults;
  const { retry: _skeins, error_format: _format, max_constructor_retry_count: _count, ...given } = options;
  const shown: Record<string, unknown> = {
    ...(options.autoscaling_config != null ? {} : { num_replicas }),
    ...others,
    backpressure_config: { status_code: 503, retry_after_s: null },
    user_config: null,
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    ray_actor_options: { num_cpus, ...(num_gpus === 0 ? {} : { num_gpus }), ...actor },
  };
  return { name: options.name, ...shown };
}

function envVars(runtimeEnv: Readonly<Record<string, unknown>> | undefined): Record<string, string> {
  const given = runtimeEnv?.["env_vars"];
  if (typeof given !== "object" || given === null) return {};
  return Object.fromEntries(Object.entries(given).map(([key, value]) => [key, String(value)]));
}
