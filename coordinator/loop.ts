/**
 * The coordinator's loop: inbox -> reduce -> plan until nothing is left -> commit -> project -> send what differs from what a peer holds.
 * Level, not edge: a peer always gets its whole assignment or table; while it reports another version, it is sent again.
 * Knows no sockets, clocks or disks: all of that is in `Ports`, so that a simulation can drive it.
 */
import type { ApplicationConfig } from "../protocol/config.ts";
import type { FromCoordinator, IngressStats, WorkerReport } from "../protocol/control.ts";
import {
  compareVersions,
  type AppName,
  type HostId,
  type IngressId,
  type Version,
  type WorkerId,
} from "../protocol/ids.ts";
import { TICKET_LIFETIME_MS } from "../protocol/limits.ts";
import type { PublicKey, Ticket } from "../protocol/ticket.ts";
import type { Event } from "./events.ts";
import { PLAN_ROUNDS_MAX, plan } from "./plan.ts";
import { assignmentFor, type UnsignedAssignment } from "./project.ts";
import { reduce } from "./reduce.ts";
import { routingTable } from "./routing-table.ts";
import type { DesiredState, State } from "./state.ts";

/** A peer that reports another version than it was sent gets it again after this long, ms. */
const RESEND_AFTER_MS = 500;
/** Events reduced before the next plan: what waits longer sees an answer late, what is planned more often costs time. */
const BATCH_MAX = 256;

export type Peer =
  | { readonly role: "worker"; readonly id: WorkerId }
  | { readonly role: "ingress"; readonly id: IngressId; readonly host: HostId };
export const peerKey = (peer: Pick<Peer, "role" | "id">): string => `${peer.role}:${peer.id}`;

export interface Ports {
  now(): number;
  send(peer: Peer, message: FromCoordinator): void;
  sign(claims: Ticket): string;
  readonly kid: string;
  readonly keys: readonly PublicKey[];
  /** Resolves when the desired state is durable. A rejection undoes the batch and reaches whoever asked. */
  save(desired: DesiredState): Promise<void>;
  relays(ingress: IngressId): readonly string[];
  /** Starts a build; its result comes back as `built` or `buildFailed`. */
  build(app: AppName, generation: number, config: ApplicationConfig, grpcServicers: readonly string[]): void;
  problem(message: string, cause?: unknown): void;
}

interface Told {
  readonly peer: Peer;
  body: string;
  version: Version | null;
  message: FromCoordinator | null;
  sentAtMs: number;
  lastReport: string;
}

interface Signed {
  readonly claims: string;
  readonly ticket: string;
  readonly notAfter: number;
}

interface Waiting {
  readonly event: Event | null;
  readonly done: () => void;
  readonly failed: (error: unknown) => void;
}

export class Loop {
  #state: State;
  readonly #ports: Ports;
  readonly #inbox: Waiting[] = [];
  readonly #peers = new Map<string, Told>();
  readonly #tickets = new Map<string, Signed>();
  readonly #building = new Map<string, number>();
  readonly #listeners = new Set<(state: State) => void>();
  #revision = 0;
  #running = false;

  constructor(state: State, ports: Ports) {
    this.#state = state;
    this.#ports = ports;
  }

  get state(): State {
    return this.#state;
  }
  get revision(): number {
    return this.#revision;
  }

  /** Resolves when what follows from the event is committed and sent; rejects when it could not be stored (then nothing changed). */
  dispatch(event: Event): Promise<void> {
    return this.#enter(event);
  }

  /** Time passed: plans, and sends again what peers don't confirm. */
  tick(): Promise<void> {
    return this.#enter(null);
  }

  /** A peer's link is up: it gets everything anew. */
  attach(peer: Peer): void {
    this.#peers.set(peerKey(peer), { peer, body: "", version: null, message: null, sentAtMs: 0, lastReport: "" });
  }

  detach(peer: Pick<Peer, "role" | "id">): void {
    this.#peers.delete(peerKey(peer));
  }

  /** A worker says what it holds. A repetition that brings nothing new costs nothing. */
  report(worker: WorkerId, report: WorkerReport): Promise<void> {
    const told = this.#peers.get(peerKey({ role: "worker", id: worker }));
    if (told === undefined) return Promise.resolve();
    const confirmed = this.#held(told, report.held);
    const text = JSON.stringify([confirmed, report]);
    if (text === told.lastReport) return Promise.resolve();
    told.lastReport = text;
    return this.dispatch({ type: "reported", worker, report, confirmed, nowMs: this.#ports.now() });
  }

  measured(ingress: IngressId, stats: IngressStats): Promise<void> {
    const told = this.#peers.get(peerKey({ role: "ingress", id: ingress }));
    if (told === undefined) return Promise.resolve();
    this.#held(told, stats.held);
    return this.dispatch({ type: "measured", ingress, stats, nowMs: this.#ports.now() });
  }

  /** Calls after each change, until the returned function is called. */
  onChange(listener: (state: State) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #enter(event: Event | null): Promise<void> {
    return new Promise((done, failed) => {
      this.#inbox.push({ event, done, failed });
      if (!this.#running) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#running = true;
    try {
      while (this.#inbox.length > 0) await this.#turn(this.#inbox.splice(0, BATCH_MAX));
    } finally {
      this.#running = false;
    }
  }

  async #turn(batch: readonly Waiting[]): Promise<void> {
    const before = this.#state;
    const accepted: Waiting[] = [];
    let state = before;
    for (const waiting of batch) {
      try {
        if (waiting.event !== null) state = reduce(state, this.#judged(waiting.event));
        accepted.push(waiting);
      } catch (error) {
        this.#ports.problem("An event could not be taken in.", error);
        waiting.failed(error);
      }
    }
    try {
      state = this.#planned(state);
      if (state.desired !== before.desired) await this.#ports.save(state.desired);
      this.#state = state;
      this.#startBuilds();
      this.#project();
    } catch (error) {
      for (const waiting of accepted) waiting.failed(error);
      return;
    }
    for (const waiting of accepted) waiting.done();
    if (state !== before) for (const listener of [...this.#listeners]) listener(state);
  }

  /** Whether a report answers the newest assignment is decided when it is taken in: while it waited, another may have been sent. */
  #judged(event: Event): Event {
    if (event.type !== "reported" || !event.confirmed) return event;
    const told = this.#peers.get(peerKey({ role: "worker", id: event.worker }));
    const { held } = event.report;
    return told?.version != null && held !== null && compareVersions(held, told.version) === 0
      ? event
      : { ...event, confirmed: false };
  }

  #planned(from: State): State {
    let state = from;
    const nowMs = this.#ports.now();
    for (let round = 0; round < PLAN_ROUNDS_MAX; round += 1) {
      const events = plan(state, nowMs);
      if (events.length === 0) return state;
      for (const event of events) state = reduce(state, event);
    }
    this.#ports.problem(`The plan did not come to rest in ${PLAN_ROUNDS_MAX} rounds; going on at the next event.`);
    return state;
  }

  #startBuilds(): void {
    const { apps, options } = this.#state.desired;
    for (const app of Object.values(apps)) {
      if (app.build.state !== "pending" || app.deleting || this.#building.get(app.name) === app.generation) continue;
      this.#building.set(app.name, app.generation);
      this.#ports.build(app.name, app.generation, app.config, options.grpc?.grpc_servicer_functions ?? []);
    }
    for (const name of this.#building.keys()) if (apps[name] === undefined) this.#building.delete(name);
  }

  /** Tells each peer what differs from what it was told, or what it doesn't confirm. */
  #project(): void {
    const state = this.#state;
    // Recovering: peers keep what they have; saying less than all would stop what runs.
    if (state.recovery !== null) return;
    const live = new Set<string>();
    const tables = new Map<string, { body: string; table: ReturnType<typeof routingTable> }>();
    for (const told of this.#peers.values()) {
      const { peer } = told;
      if (peer.role === "worker") {
        const worker = state.workers[peer.id];
        if (worker === undefined || !worker.reported) continue;
        const unsigned = assignmentFor(state, worker, this.#ports.relays);
        const assignment = this.#signed(unsigned, live);
        this.#tell(told, JSON.stringify(assignment), (version) => ({ type: "assignment", version, ...assignment }));
      } else {
        let made = tables.get(peer.host);
        if (made === undefined) {
          const table = routingTable(state, peer.host);
          made = { body: JSON.stringify(table), table };
          tables.set(peer.host, made);
        }
        const { table, body } = made;
        this.#tell(told, body, (version) => ({
          type: "routes",
          table: { ...table, version, keys: [...this.#ports.keys] },
        }));
      }
    }
    for (const id of this.#tickets.keys())
      if (!live.has(id) && state.replicas[id] === undefined && !id.startsWith("ingress-")) this.#tickets.delete(id);
  }

  #tell(told: Told, body: string, message: (version: Version) => FromCoordinator): void {
    const nowMs = this.#ports.now();
    if (body !== told.body || told.message === null) {
      this.#revision += 1;
      told.body = body;
      told.version = { term: this.#state.term, revision: this.#revision };
      told.message = message(told.version);
      told.sentAtMs = nowMs;
      this.#ports.send(told.peer, told.message);
    }
  }

  /** True when the peer holds the newest; otherwise it is sent again, though not for every report that crosses it. */
  #held(told: Told, held: Version | null): boolean {
    if (told.version === null || told.message === null) return false;
    if (held !== null && compareVersions(held, told.version) === 0) return true;
    const nowMs = this.#ports.now();
    if (nowMs - told.sentAtMs >= RESEND_AFTER_MS) {
      told.sentAtMs = nowMs;
      this.#ports.send(told.peer, told.message);
    }
    return false;
  }

  #signed(unsigned: UnsignedAssignment, live: Set<string>) {
    const replicas = unsigned.replicas.map(({ claims, ...spec }) => {
      live.add(spec.replica);
      return { ...spec, ticket: this.#ticket(spec.replica, { use: "replica", ...claims }) };
    });
    const own = unsigned.ingress;
    const ingress =
      own === null
        ? null
        : {
            ingress: own.ingress,
            http: own.http,
            grpc: own.grpc,
            ticket: this.#ticket(own.ingress, { use: "ingress", ingress: own.ingress, host: own.host }),
          };
    return { replicas, ingress, ingresses: unsigned.ingresses };
  }

  /** One ticket serves for half its life, so that an assignment doesn't change without need. */
  #ticket(id: string, claims: WithoutTerm<Ticket>): string {
    const text = JSON.stringify(claims);
    const nowMs = this.#ports.now();
    const known = this.#tickets.get(id);
    if (known !== undefined && known.claims === text && known.notAfter - nowMs > TICKET_LIFETIME_MS / 2)
      return known.ticket;
    const notAfter = nowMs + TICKET_LIFETIME_MS;
    const ticket = this.#ports.sign({ ...claims, kid: this.#ports.kid, notAfter } as Ticket);
    this.#tickets.set(id, { claims: text, ticket, notAfter });
    return ticket;
  }
}

type WithoutTerm<T> = T extends unknown ? Omit<T, "kid" | "notAfter"> : never;
