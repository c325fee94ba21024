/** The body of `GET /api/serve/applications/` in Ray's shape, as a projection of the state. Pure. */
import { deploymentId } from "../protocol/ids.ts";
import type {
  ApplicationDetails,
  ApplicationStatus,
  DeploymentDetails,
  InstanceDetails,
  ProxyDetails,
  ReplicaDetails,
  WorkerDetails,
} from "../protocol/status.ts";
import { freeOf } from "./place.ts";
import { ingressHosts, ingressIdOf } from "./project.ts";
import {
  replicasOf,
  type DeploymentState,
  type DesiredApp,
  type DesiredDeployment,
  type Replica,
  type State,
  type WorkerState,
} from "./state.ts";

/** What the state doesn't know: which process this is. */
export interface ControllerInfo {
  readonly pid: number;
  readonly startedAtMs: number;
  readonly revision: number;
}

export function statusReport(state: State, info: ControllerInfo, source?: DesiredApp["source"]): InstanceDetails {
  const { options } = state.desired;
  const started = options.http !== null;
  const apps = Object.values(state.desired.apps).filter((app) => source === undefined || app.source === source);
  return {
    controller_info: started
      ? {
          node_id: state.headHost,
          node_ip: "127.0.0.1",
          actor_id: null,
          actor_name: "SKEIN_COORDINATOR",
          worker_id: String(info.pid),
          log_file_path: null,
        }
      : {},
    proxy_location: started ? options.proxyLocation : null,
    http_options: options.http === null ? null : withoutPassword(options.http),
    grpc_options: started && options.grpc !== null ? { ...options.grpc } : null,
    proxies: started ? proxies(state) : {},
    deploy_mode: "MULTI_APP",
    applications: Object.fromEntries(apps.map((app) => [app.name, application(state, app)])),
    target_capacity: options.targetCapacity,
    target_groups: started ? targetGroups(state) : [],
    skein: {
      term: state.term,
      revision: info.revision,
      recovering: state.recovery !== null,
      workers: Object.values(state.workers).map((w) => worker(state, w)),
    },
  };
}

const withoutPassword = (http: object): Record<string, unknown> => {
  const { ssl_keyfile_password: secret, ...rest } = http as Record<string, unknown>;
  return { ...rest, ...(secret === undefined ? {} : { ssl_keyfile_password: secret === null ? null : "***" }) };
};

function application(state: State, app: DesiredApp): ApplicationDetails {
  const deployments: Record<string, DeploymentDetails> = {};
  const stories: DeploymentState[] = [];
  if (!app.deleting)
    for (const deployment of Object.values(app.target?.deployments ?? {})) {
      const story = state.deployments[deploymentId(app.name, deployment.name)];
      if (story === undefined) continue;
      stories.push(story);
      deployments[deployment.name] = deploymentDetails(state, app, deployment, story);
    }
  const { status, message } = applicationStatus(app, stories);
  return {
    name: app.name,
    route_prefix: app.target === null ? null : app.config.route_prefix,
    docs_path: null,
    status,
    message,
    last_deployed_time_s: app.deployedAtMs / 1000,
    deployed_app_config: app.source === "declarative" ? { ...app.submitted } : null,
    source: app.source,
    external_scaler_enabled: app.config.external_scaler_enabled,
    deployments,
    deployment_topology: topology(app),
  };
}

/** Ray's rules: the worst deployment decides. */
export function applicationStatus(
  app: DesiredApp,
  stories: readonly DeploymentState[],
): { status: ApplicationStatus; message: string } {
  const named = (status: DeploymentState["status"]): string =>
    `[${stories
      .filter((s) => s.status === status)
      .map((s) => `'${s.id.split("#")[1] ?? ""}'`)
      .join(", ")}]`;
  const has = (status: DeploymentState["status"]): boolean => stories.some((s) => s.status === status);
  if (app.deleting) return { status: "DELETING", message: "" };
  if (app.build.state === "failed") return { status: "DEPLOY_FAILED", message: app.build.message };
  if (app.build.state === "pending" && !app.build.quiet) return { status: "DEPLOYING", message: "" };
  if (has("DEPLOY_FAILED"))
    return { status: "DEPLOY_FAILED", message: `Failed to update the deployments ${named("DEPLOY_FAILED")}.` };
  if (has("UNHEALTHY")) return { status: "UNHEALTHY", message: `The deployments ${named("UNHEALTHY")} are UNHEALTHY.` };
  if (has("UPDATING")) return { status: "DEPLOYING", message: "" };
  return { status: "RUNNING", message: "" };
}

function deploymentDetails(
  state: State,
  app: DesiredApp,
  deployment: DesiredDeployment,
  story: DeploymentState,
): DeploymentDetails {
  const needs = deployment.codes[deployment.code]?.requirements;
  return {
    name: deployment.name,
    status: story.status,
    status_trigger: story.trigger,
    message: story.message,
    deployment_config: { ...deployment.shown },
    target_num_replicas: story.target ?? deployment.settings.numReplicas,
    required_resources: {
      CPU: needs?.cpus ?? 0,
      ...(typeof needs?.gpus === "number" && needs.gpus > 0 ? { GPU: needs.gpus } : {}),
      ...(needs !== undefined && needs.memory > 0 ? { memory: needs.memory } : {}),
      ...needs?.custom,
    },
    replicas: replicasOf(state, app.name, deployment.name)
      .sort((a, b) => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1))
      .map((r) => replicaDetails(state, r)),
  };
}

function replicaDetails(state: State, replica: Replica): ReplicaDetails {
  const host = replica.worker === null ? null : (state.workers[replica.worker]?.host ?? null);
  return {
    replica_id: replica.id.split("#")[2] ?? replica.id,
    state: replicaState(replica),
    pid: replica.report?.pid ?? null,
    start_time_s: (replica.report?.startedAtMs ?? replica.createdAtMs) / 1000,
    node_id: host,
    node_ip: null,
    actor_id: null,
    actor_name: `SERVE_REPLICA::${replica.id}`,
    worker_id: replica.worker,
    log_file_path: null,
    message:
      replica.phase === "pending"
        ? replica.reason
        : (replica.report?.error ?? replica.report?.reconfigureError ?? replica.report?.progress ?? ""),
  };
}

function replicaState(replica: Replica): ReplicaDetails["state"] {
  switch (replica.phase) {
    case "pending":
    case "starting":
      return "STARTING";
    case "running":
      return replica.report !== null && replica.report.userConfigVersion !== replica.config ? "UPDATING" : "RUNNING";
    case "stopping":
      return "STOPPING";
  }
}

function topology(app: DesiredApp): ApplicationDetails["deployment_topology"] {
  if (app.target === null) return null;
  const { ingress, deployments } = app.target.manifest.graph;
  return {
    app_name: app.name,
    ingress_deployment: ingress,
    nodes: Object.fromEntries(
      deployments.map((d) => [
        d.name,
        {
          name: d.name,
          app_name: app.name,
          outbound_deployments: [...new Set(d.callees)].sort().map((name) => ({ name, app_name: app.name })),
          is_ingress: d.name === ingress,
        },
      ]),
    ),
  };
}

function proxies(state: State): Record<string, ProxyDetails> {
  const wanted = ingressHosts(state);
  const found: Record<string, ProxyDetails> = {};
  for (const w of Object.values(state.workers)) {
    if (w.ingress === null && wanted.get(w.host)?.id !== w.id) continue;
    const report = w.ingress;
    const status =
      wanted.get(w.host)?.id !== w.id || state.draining[w.host] !== undefined
        ? "DRAINING"
        : report === null || report.state === "starting"
          ? "STARTING"
          : report.state === "ready" && report.error === undefined
            ? "HEALTHY"
            : "UNHEALTHY";
    found[w.host] = {
      node_id: w.host,
      node_ip: "127.0.0.1",
      status,
      actor_id: null,
      actor_name: ingressIdOf(w.host),
      worker_id: w.id,
      log_file_path: null,
      ...(report?.error === undefined ? {} : { message: report.error }),
    };
  }
  return found;
}

function targetGroups(state: State): InstanceDetails["target_groups"] {
  const ready = Object.values(state.workers).flatMap((w) =>
    w.ingress?.state === "ready" && state.draining[w.host] === undefined ? [w.ingress] : [],
  );
  const group = (
    protocol: "HTTP" | "gRPC",
    pick: (i: (typeof ready)[number]) => { host: string; port: number } | null,
  ): InstanceDetails["target_groups"][number] => ({
    protocol,
    route_prefix: "/",
    app_name: "",
    targets: ready.flatMap((i) => {
      const at = pick(i);
      return at === null ? [] : [{ ip: at.host, port: at.port, instance_id: i.ingress, name: i.ingress }];
    }),
  });
  return [group("HTTP", (i) => i.http), group("gRPC", (i) => i.grpc)].filter((g) => g.targets.length > 0);
}

function worker(state: State, w: WorkerState): WorkerDetails {
  const free = freeOf(state, w);
  return {
    worker_id: w.id,
    host_id: w.host,
    kind: w.capabilities.kind,
    name: w.capabilities.name,
    status: w.connected ? "ALIVE" : "LOST",
    resources: { cpus: w.capabilities.cpus, gpus: w.capabilities.gpus, memory: w.capabilities.memory },
    available: { cpus: free.cpus, gpus: free.gpus, memory: free.memory },
    providers: w.capabilities.providers,
    adapter: w.capabilities.adapter,
    replicas: Object.values(state.replicas)
      .filter((r) => r.worker === w.id)
      .map((r) => r.id),
  };
}
