/**
 * What one ingress knows: the routing table, the replicas linked to it, a pool per deployment.
 * A replica is used when the table lists it as ready and its link is up, in whatever order the two come.
 */
import type { IngressStats } from "../protocol/control.ts";
import { compareVersions, deploymentId } from "../protocol/ids.ts";
import type { ReplicaTicket } from "../protocol/ticket.ts";
import type { RoutingTable } from "../protocol/routes.ts";
import { Backlog } from "./backlog.ts";
import { Peer, type Opener } from "./peer.ts";
import { Pool, type PoolContext } from "./pool.ts";
import { Routes } from "./routes.ts";

interface Linked {
  readonly link: Opener;
  readonly incarnation: number;
  readonly host: string;
}

export interface MeshContext {
  readonly host: string;
  now(): number;
  random(): number;
}

export class Mesh {
  table: RoutingTable | null = null;
  routes: Routes | null = null;
  /** An application with a route has been there once. */
  populated = false;
  /** This ingress ends, and still has requests. */
  ending = false;
  /** Called when a queue began or ended: the coordinator wants to know at once. */
  onQueueEdge: () => void = () => {};
  readonly backlog = new Backlog();
  readonly #context: PoolContext;
  #pools = new Map<string, Pool>();
  readonly #peers = new Map<string, Peer>();
  readonly #links = new Map<string, Linked>();

  constructor(context: MeshContext) {
    this.#context = { ...context, backlog: this.backlog, onQueueEdge: () => this.onQueueEdge() };
  }

  /** Takes a table that is not older than the one in force. False: it was older. */
  apply(table: RoutingTable): boolean {
    if (this.table !== null && compareVersions(table.version, this.table.version) < 0) return false;
    this.table = table;
    this.routes = new Routes(table, table.http.root_path);
    this.populated ||= !this.routes.empty;
    const pools = new Map<string, Pool>();
    const listed = new Set<string>();
    for (const config of table.deployments) {
      const id = deploymentId(config.app, config.name);
      const pool = this.#pools.get(id) ?? new Pool(config, this.#context);
      pools.set(id, pool);
      const peers = config.replicas.map((routed) => {
        listed.add(routed.replica);
        const peer = this.#peers.get(routed.replica) ?? new Peer(routed.replica, routed.host);
        this.#peers.set(routed.replica, peer);
        peer.ready = routed.state === "ready";
        const linked = this.#links.get(routed.replica);
        peer.link = linked !== undefined && linked.incarnation >= routed.incarnation ? linked.link : null;
        return peer;
      });
      pool.configure(config, peers);
    }
    for (const [id, pool] of this.#pools) if (!pools.has(id)) pool.close();
    for (const replica of this.#peers.keys()) if (!listed.has(replica)) this.#peers.delete(replica);
    this.#pools = pools;
    return true;
  }

  /** Incarnation of the link that a replica has, if any. */
  linkedIncarnation(replica: string): number | undefined {
    return this.#links.get(replica)?.incarnation;
  }

  isRevoked(replica: string): boolean {
    return this.table?.revoked.includes(replica) ?? false;
  }

  linked(ticket: ReplicaTicket, link: Opener): void {
    this.#links.set(ticket.replica, { link, incarnation: ticket.incarnation, host: ticket.host });
    const peer = this.#peers.get(ticket.replica);
    if (peer === undefined) return;
    peer.link = link;
    peer.report(0, this.#context.now());
    this.#pools.get(deploymentId(ticket.app, ticket.deployment))?.pump();
  }

  /** The link is closed; a newer one of the same replica stays. */
  unlinked(ticket: ReplicaTicket, link: Opener): void {
    if (this.#links.get(ticket.replica)?.link !== link) return;
    this.#links.delete(ticket.replica);
    const peer = this.#peers.get(ticket.replica);
    if (peer !== undefined) peer.link = null;
  }

  /** The replica told its load outside of a request. */
  reported(ticket: ReplicaTicket, load: number): void {
    this.#peers.get(ticket.replica)?.report(load, this.#context.now());
    this.#pools.get(deploymentId(ticket.app, ticket.deployment))?.pump();
  }

  pool(app: string, deployment: string): Pool | undefined {
    return this.#pools.get(deploymentId(app, deployment));
  }

  get pools(): Iterable<Pool> {
    return this.#pools.values();
  }
  get links(): number {
    return this.#links.size;
  }

  /** The replica's link can be relied on again. */
  trusted(ticket: ReplicaTicket): void {
    this.#pools.get(deploymentId(ticket.app, ticket.deployment))?.pump();
  }

  /** Call about twice a second: corrects stale load reports. */
  tick(): void {
    const now = this.#context.now();
    for (const pool of this.#pools.values()) {
      const refreshed = pool.peers.filter((peer) => peer.refresh(now)).length > 0;
      if (refreshed || pool.queued > 0) pool.pump();
    }
  }

  /** Why this ingress should get no traffic, in Ray's words; null: it is ready. */
  notReady(): string | null {
    if (this.ending || this.table?.draining === true) return "This node is being drained.";
    if (this.table === null || !this.populated) return "Route table is not populated yet.";
    if (!this.table.head && this.#links.size === 0) return "No replicas are available yet.";
    return null;
  }

  stats(): IngressStats {
    return {
      type: "stats",
      held: this.table?.version ?? null,
      deployments: [...this.#pools.values()].map((pool) => ({
        app: pool.app,
        deployment: pool.deployment,
        queued: pool.queued,
        ongoing: pool.ongoing,
        links: pool.peers.filter((peer) => peer.link !== null).length,
      })),
    };
  }
}
