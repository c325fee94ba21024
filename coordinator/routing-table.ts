/** The routing table of one ingress, as a projection of the state; version and keys are the loop's. Pure. */
import { grpcOptionsSchema, httpOptionsSchema } from "../protocol/config.ts";
import { deploymentId, type HostId } from "../protocol/ids.ts";
import type { RoutedApp, RoutedDeployment, RoutedReplica, RoutingTable } from "../protocol/routes.ts";
import { headHost } from "./project.ts";
import { replicasOf, type ApiKey, type DesiredApp, type DesiredDeployment, type Replica, type State } from "./state.ts";

export type UnversionedTable = Omit<RoutingTable, "version" | "keys">;

const DEFAULT_HTTP = httpOptionsSchema.parse({});
const DEFAULT_GRPC = grpcOptionsSchema.parse({});

export function routingTable(state: State, host: HostId): UnversionedTable {
  const apps: RoutedApp[] = [];
  const deployments: RoutedDeployment[] = [];
  for (const app of Object.values(state.desired.apps).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (app.target === null) continue;
    // An application that is being deleted has no route any more; its replicas finish what they have.
    if (!app.deleting) apps.push(routedApp(app, app.target, state.desired.apiKeys[app.name]));
    for (const deployment of Object.values(app.target.deployments))
      deployments.push(routedDeployment(state, app, deployment));
  }
  return {
    revoked: [...state.revoked],
    apps,
    deployments,
    http: state.desired.options.http ?? DEFAULT_HTTP,
    grpc: state.desired.options.grpc ?? DEFAULT_GRPC,
    loggingConfig: state.desired.options.loggingConfig,
    draining: state.draining[host] !== undefined,
    head: host === headHost(state),
  };
}

function routedApp(
  app: DesiredApp,
  target: NonNullable<DesiredApp["target"]>,
  keys: readonly ApiKey[] | undefined,
): RoutedApp {
  const { graph, grpc } = target.manifest;
  return {
    name: app.name,
    routePrefix: app.config.route_prefix,
    ingress: graph.ingress,
    ...(app.config.logging_config == null ? {} : { loggingConfig: app.config.logging_config }),
    ...(grpc === undefined ? {} : { grpcDescriptors: grpc.descriptors }),
    grpcServices: grpc?.services ?? [],
    ...(keys === undefined ? {} : { apiKeys: keys.map(({ id, hash, expiresAtMs }) => ({ id, hash, expiresAtMs })) }),
  };
}

function routedDeployment(state: State, app: DesiredApp, deployment: DesiredDeployment): RoutedDeployment {
  const replicas = replicasOf(state, app.name, deployment.name);
  const story = state.deployments[deploymentId(app.name, deployment.name)];
  return {
    app: app.name,
    name: deployment.name,
    maxOngoingRequests: maxOngoing(deployment, replicas),
    maxQueuedRequests: deployment.settings.maxQueuedRequests,
    backpressure: deployment.settings.backpressure,
    retry: deployment.settings.retry,
    ...(deployment.settings.errorFormat === undefined ? {} : { errorFormat: deployment.settings.errorFormat }),
    unavailable: story?.status === "DEPLOY_FAILED" && !replicas.some((r) => r.phase === "running"),
    replicas: replicas.flatMap((r) => routedReplica(state, r) ?? []).sort((a, b) => (a.replica < b.replica ? -1 : 1)),
  };
}

function routedReplica(state: State, replica: Replica): RoutedReplica | null {
  const worker = replica.worker === null ? undefined : state.workers[replica.worker];
  if (worker === undefined || (replica.phase !== "running" && replica.phase !== "stopping")) return null;
  return {
    replica: replica.id,
    worker: worker.id,
    host: worker.host,
    incarnation: replica.code,
    state: replica.phase === "running" ? "ready" : "draining",
  };
}

/** An engine derives it from its slots where the deployment doesn't say. */
function maxOngoing(deployment: DesiredDeployment, replicas: readonly Replica[]): number {
  if (deployment.settings.maxOngoingGiven) return deployment.settings.maxOngoingRequests;
  const derived = replicas.flatMap((r) => (r.phase === "running" ? (r.report?.maxOngoingRequests ?? []) : []));
  return derived.length === 0 ? deployment.settings.maxOngoingRequests : Math.min(...derived);
}
