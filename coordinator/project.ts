/**
 * What each worker should hold, as a projection of the state: replicas, its host's ingress, where replicas dial.
 * Without version and tickets: those belong to the loop, which signs and sends. Pure.
 */
import type { Assignment, IngressAddress, IngressSpec, ReplicaSpec } from "../protocol/control.ts";
import { deploymentId, type HostId, type IngressId } from "../protocol/ids.ts";
import type { ReplicaTicket } from "../protocol/ticket.ts";
import type { Replica, State, WorkerState } from "./state.ts";
import { subsets, type Subsets } from "./subset.ts";

export type UnsignedReplica = Omit<ReplicaSpec, "ticket"> & {
  readonly claims: Omit<ReplicaTicket, "use" | "kid" | "notAfter">;
};
export type UnsignedAssignment = Omit<Assignment, "type" | "version" | "replicas" | "ingress"> & {
  readonly replicas: readonly UnsignedReplica[];
  readonly ingress: (Omit<IngressSpec, "ticket"> & { readonly host: HostId }) | null;
};

export const ingressIdOf = (host: HostId): IngressId => `ingress-${host}` as IngressId;

/** Which worker runs its host's ingress: where one is wanted, and where one is being drained. */
export function ingressHosts(state: State): Map<HostId, WorkerState> {
  const hosts = wantedIngresses(state);
  for (const worker of Object.values(state.workers))
    if (worker.ingress !== null && !hosts.has(worker.host) && state.draining[worker.host]?.over === false)
      hosts.set(worker.host, worker);
  return hosts;
}

/**
 * Which worker should run its host's ingress: on the head's host always, on others where the location says EveryNode and a replica lives.
 * The worker that has it keeps it; before any has reported it, it is the one that joined first (the order of `workers`), so that the
 * choice doesn't move with everyone who joins.
 */
export function wantedIngresses(state: State): Map<HostId, WorkerState> {
  const chosen = new Map<HostId, WorkerState>();
  const nodes = Object.values(state.workers).filter((w) => w.capabilities.kind === "node");
  const head = headHost(state, nodes);
  for (const worker of nodes) {
    const wanted =
      worker.host === head || (state.desired.options.proxyLocation === "EveryNode" && hasReplica(state, worker.host));
    if (!wanted) continue;
    const other = chosen.get(worker.host);
    if (other === undefined || (other.ingress === null && worker.ingress !== null)) chosen.set(worker.host, worker);
  }
  return chosen;
}

/** The coordinator's own host if a worker is there, else the first host that has one: there is always one ingress. */
export const headHost = (
  state: State,
  nodes: readonly WorkerState[] = Object.values(state.workers).filter((w) => w.capabilities.kind === "node"),
): HostId =>
  nodes.some((w) => w.host === state.headHost)
    ? state.headHost
    : (nodes.map((w) => w.host).sort()[0] ?? state.headHost);

const hasReplica = (state: State, host: HostId): boolean =>
  Object.values(state.replicas).some((r) => r.worker !== null && state.workers[r.worker]?.host === host);

/** Ingresses that answer, with every URL that may lead there: whoever dials is somewhere that nobody here knows. */
export function ingressAddresses(state: State, relays: (ingress: IngressId) => readonly string[]): IngressAddress[] {
  return [...ingressHosts(state)].flatMap(([host, { ingress }]) =>
    ingress?.state === "ready"
      ? { ingress: ingress.ingress, host, urls: [...ingress.urls, ...relays(ingress.ingress as IngressId)] }
      : [],
  );
}

/** @param relays URLs of this coordinator's relay for an ingress, tried last */
export function assignmentFor(
  state: State,
  worker: WorkerState,
  relays: (ingress: IngressId) => readonly string[],
): UnsignedAssignment {
  const hosts = ingressHosts(state);
  const replicas = Object.values(state.replicas)
    .filter((r) => r.worker === worker.id && (r.phase === "starting" || r.phase === "running"))
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .flatMap((replica) => specOf(state, worker, replica) ?? []);
  const { http, grpc, proxyLocation } = state.desired.options;
  const open = proxyLocation !== "Disabled";
  const own =
    hosts.get(worker.host)?.id === worker.id
      ? {
          ingress: ingressIdOf(worker.host),
          host: worker.host,
          http: open ? http : null,
          grpc: open && http !== null ? grpc : null,
        }
      : null;
  const ingresses: IngressAddress[] = [];
  const linked = linkedIn(state);
  for (const { id, host, urls } of readyIngresses(hosts)) {
    const reachable = urls.filter(
      (url) => host === worker.host || worker.capabilities.kind === "browser" || !isLoopback(url),
    );
    const address = { ingress: id, host, urls: [...reachable, ...relays(id)] };
    const dials = replicas.flatMap(({ replica }) => (linked(replica, id) ? [replica] : []));
    ingresses.push(dials.length === replicas.length ? address : { ...address, replicas: dials });
  }
  return { replicas, ingress: own, ingresses };
}

interface ReadyIngress {
  readonly id: IngressId;
  readonly host: HostId;
  readonly urls: readonly string[];
}

/** Those that take links, in a fixed order. */
const readyIngresses = (hosts: ReadonlyMap<HostId, WorkerState>): ReadyIngress[] =>
  [...hosts]
    .flatMap(([host, { ingress }]) => {
      const id = ingressIdOf(host);
      return ingress?.ingress === id && ingress.state === "ready" ? [{ id, host, urls: ingress.urls }] : [];
    })
    .sort((a, b) => (a.host < b.host ? -1 : 1));

type Linked = (replica: string, ingress: string) => boolean;
/** The same for every worker of one state. */
const remembered = new WeakMap<State, Linked>();

function linkedIn(state: State): Linked {
  const known = remembered.get(state) ?? linksOf(state);
  remembered.set(state, known);
  return known;
}

/**
 * Deployment by deployment: an ingress must have replicas of each. Those that run are chosen apart from those that start, for a subset of
 * the latter would serve nobody.
 */
function linksOf(state: State): Linked {
  const head = headHost(state);
  const entrances = readyIngresses(ingressHosts(state)).map(({ id, host }) => ({ id, host, head: host === head }));
  const placed = Object.values(state.replicas).flatMap(({ id, app, deployment, phase, worker }) => {
    const host = worker === null ? undefined : state.workers[worker]?.host;
    const dials = host !== undefined && (phase === "running" || phase === "starting");
    return dials ? [{ id, host, group: `${phase} ${deploymentId(app, deployment)}` }] : [];
  });
  const chosen = new Map<string, Subsets>();
  for (const group of Map.groupBy(placed, (replica) => replica.group).values()) {
    const subset = subsets(group, entrances);
    if (subset !== null) for (const { id } of group) chosen.set(id, subset);
  }
  return (replica, ingress) => chosen.get(replica)?.get(ingress)?.has(replica) ?? true;
}

function specOf(state: State, worker: WorkerState, replica: Replica): UnsignedReplica | null {
  const app = state.desired.apps[replica.app];
  const deployment = app?.target?.deployments[replica.deployment];
  const code = deployment?.codes[replica.code];
  if (app === undefined || deployment === undefined || code === undefined) return null;
  const s = deployment.settings;
  return {
    replica: replica.id,
    incarnation: replica.code,
    app: replica.app,
    deployment: replica.deployment,
    artefact: code.artefact,
    claims: {
      replica: replica.id,
      incarnation: replica.code,
      app: replica.app,
      deployment: replica.deployment,
      worker: worker.id,
      host: worker.host,
      callees: deployment.callees.map((name) => deploymentId(replica.app, name)),
    },
    maxOngoingRequests: s.maxOngoingRequests,
    gracefulShutdownTimeoutS: s.gracefulShutdownTimeoutS,
    gracefulShutdownWaitLoopS: s.gracefulShutdownWaitLoopS,
    healthCheckPeriodS: s.healthCheckPeriodS,
    healthCheckTimeoutS: s.healthCheckTimeoutS,
    userConfig: deployment.configs[replica.config] ?? null,
    userConfigVersion: replica.config,
    envVars: { ...code.envVars },
    cpus: replica.reserved.cpus,
    gpus: replica.reserved.gpus,
    memory: replica.reserved.memory,
    loggingConfig: s.loggingConfig ?? state.desired.options.loggingConfig,
    rank: replica.rank,
    routePrefix: app.target?.manifest.graph.ingress === replica.deployment ? app.config.route_prefix : null,
  };
}

function isLoopback(url: string): boolean {
  try {
    const host = new URL(url).hostname;
    return host === "localhost" || host === "[::1]" || host.startsWith("127.");
  } catch {
    return true;
  }
}
