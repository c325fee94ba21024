/**
 * An ingress's pure core beside replicas that a test plays by hand: real links joined in memory, virtual time, no sockets.
 */
import type { OpenHead } from "../../protocol/heads.ts";
import type { Link } from "../../protocol/link.ts";
import type { RoutedDeployment, RoutingTable } from "../../protocol/routes.ts";
import { routingTableSchema } from "../../protocol/routes.ts";
import type { Stream, StreamEvents } from "../../protocol/stream.ts";
import type { ReplicaTicket } from "../../protocol/ticket.ts";
import { Mesh } from "../../ingress/mesh.ts";
import { linkPair, type LinkPair } from "../support/link-pair.ts";

export interface TableOptions {
  readonly deployments?: readonly (Partial<RoutedDeployment> & { replicas?: RoutedDeployment["replicas"] })[];
  readonly apps?: Partial<RoutingTable>["apps"];
  readonly http?: Record<string, unknown>;
  readonly grpc?: Record<string, unknown>;
  readonly revision?: number;
  readonly keys?: RoutingTable["keys"];
  readonly revoked?: string[];
  readonly draining?: boolean;
  readonly head?: boolean;
}

/** A table of one application `app` on `/` with deployment `D`, unless told otherwise. */
export function table(options: TableOptions = {}): RoutingTable {
  return routingTableSchema.parse({
    version: { term: 1, revision: options.revision ?? 1 },
    keys: options.keys ?? [],
    revoked: options.revoked ?? [],
    apps: options.apps ?? [{ name: "app", routePrefix: "/", ingress: "D" }],
    deployments: (options.deployments ?? [{}]).map((d) => ({
      app: "app",
      name: "D",
      maxOngoingRequests: 5,
      maxQueuedRequests: -1,
      retry: "none",
      unavailable: false,
      replicas: [],
      ...d,
    })),
    http: options.http ?? {},
    grpc: options.grpc ?? {},
    draining: options.draining ?? false,
    head: options.head ?? true,
  });
}

export const routed = (replica: string, host = "h", incarnation = 1): RoutedDeployment["replicas"][number] => ({
  replica,
  worker: "w",
  host,
  incarnation,
  state: "ready",
});

export interface Taken {
  readonly stream: Stream;
  readonly head: OpenHead;
  readonly ended: boolean;
  body: string;
  bodyEnded: boolean;
  cancelled: string | null;
  lost: boolean;
  owed: number;
}

/** A replica played by the test: collects what is opened on it. */
export interface PlayedReplica {
  readonly name: string;
  readonly pair: LinkPair;
  readonly taken: Taken[];
  /** Opens a call as a handle would. */
  readonly link: Link;
  die(): void;
}

export class TestMesh {
  now = 0;
  readonly mesh: Mesh;
  readonly replicas: PlayedReplica[] = [];
  /** Streams that replicas open on the ingress. */
  onStream: (stream: Stream, head: OpenHead, ended: boolean) => StreamEvents = () => {
    throw new Error("no call was expected");
  };

  constructor(random: () => number = () => 0.5, host = "h") {
    this.mesh = new Mesh({ host, now: () => this.now, random });
  }

  /** Links a replica. `body: "hold"`: what it gets is not consumed. */
  link(
    name: string,
    options: { deployment?: string; incarnation?: number; onTaken?: (taken: Taken) => void; hold?: boolean } = {},
  ): PlayedReplica {
    const taken: Taken[] = [];
    const ticket: ReplicaTicket = {
      use: "replica",
      kid: "k",
      notAfter: 1e15,
      replica: name,
      incarnation: options.incarnation ?? 1,
      app: "app",
      deployment: options.deployment ?? "D",
      worker: "w",
      host: "h",
      callees: ["app#Child"],
    };
    const pair = linkPair(
      {
        onStream: (stream, head, ended) => {
          const item: Taken = {
            stream,
            head,
            ended,
            body: "",
            bodyEnded: ended,
            cancelled: null,
            lost: false,
            owed: 0,
          };
          taken.push(item);
          options.onTaken?.(item);
          return {
            onChunk: (payload, _type, _more, charge) => {
              item.body += Buffer.from(payload).toString("latin1");
              item.owed += charge;
              if (options.hold !== true) stream.consumed(charge);
            },
            onEnd: () => void (item.bodyEnded = true),
            onCancel: (reason) => void (item.cancelled = reason),
            onFail: () => void (item.lost = true),
          };
        },
      },
      {
        onStream: (stream, head, ended) => this.onStream(stream, head, ended),
        onLoad: (load) => this.mesh.reported(ticket, load),
        onClose: () => this.mesh.unlinked(ticket, pair.listener),
        onTrusted: () => this.mesh.trusted(ticket),
      },
    );
    this.mesh.linked(ticket, pair.listener);
    const replica: PlayedReplica = {
      name,
      pair,
      taken,
      link: pair.dialler,
      die: () => {
        pair.listener.closed(1006, "The connection broke.", this.now);
        pair.dialler.closed(1006, "The connection broke.");
      },
    };
    this.replicas.push(replica);
    return replica;
  }

  settle(): void {
    for (let again = true; again;) {
      again = false;
      for (const { pair } of this.replicas) while (pair.step()) again = true;
    }
  }
}
