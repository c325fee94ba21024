/**
 * Connections between virtual processes: what is sent arrives in order within one connection and in any order across them, after a delay.
 * A connection can lose messages (control links only), be cut (both ends are told), half-open (nobody is told, nothing arrives any more),
 * or held up by a partition of hosts (arrives when that heals, as TCP does). Knows bytes and text, not what they mean.
 */
import type { Random } from "../support/random.ts";
import { chance } from "../support/random.ts";
import type { VirtualClock } from "./clock.ts";
import { fnv } from "./clock.ts";
import type { SimProcess } from "./process.ts";

export type Payload = string | Uint8Array;

export interface EndEvents {
  onOpen?(): void;
  onMessage(payload: Payload): void;
  /** Once. */
  onClose(code: number, reason: string): void;
}

/** Who answers a dial; null: refused. Called in no process: the answer is run in `process`. */
export interface Listener {
  readonly process: SimProcess;
  accept(connection: End): EndEvents;
}

export interface NetworkOptions {
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  /** Share of control messages that get lost. */
  readonly loss: number;
}

type Item =
  | { readonly kind: "open" }
  | { readonly kind: "message"; readonly payload: Payload }
  | { readonly kind: "close"; readonly code: number; readonly reason: string };

/** One side of a connection. */
export class End {
  readonly connection: Connection;
  readonly process: SimProcess;
  events: EndEvents;
  closed = false;
  lastArrival = 0;
  /** Arrived while hosts were partitioned. */
  held: Item[] = [];

  constructor(connection: Connection, process: SimProcess, events: EndEvents) {
    this.connection = connection;
    this.process = process;
    this.events = events;
  }

  send(payload: Payload): void {
    if (!this.closed) this.connection.transmit(this, { kind: "message", payload });
  }

  close(code: number, reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.connection.transmit(this, { kind: "close", code, reason });
  }
}

export class Connection {
  readonly kind: "control" | "data";
  readonly number: number;
  readonly network: Network;
  readonly ends: End[] = [];
  /** When it became half-open, ms; null: it works. */
  halfOpenAt: number | null = null;

  constructor(network: Network, kind: "control" | "data", number: number) {
    this.network = network;
    this.kind = kind;
    this.number = number;
  }

  peerOf(end: End): End | undefined {
    return this.ends.find((other) => other !== end);
  }

  get open(): boolean {
    return this.ends.length === 2 && this.ends.every((end) => !end.closed && end.process.alive);
  }

  transmit(from: End, item: Item): void {
    const to = this.peerOf(from);
    if (to === undefined || this.halfOpenAt !== null) return;
    this.network.observe?.(this, from, item.kind === "message" ? item.payload : null);
    if (item.kind === "message" && this.kind === "control" && chance(this.network.random, this.network.options.loss))
      return;
    this.arrive(to, item);
  }

  arrive(to: End, item: Item): void {
    const { clock } = this.network;
    const at = Math.max(to.lastArrival, clock.now + this.network.delay());
    to.lastArrival = at;
    const size =
      item.kind === "message"
        ? fnv(
            typeof item.payload === "string"
              ? item.payload
              : `${item.payload.byteLength} ${item.payload[0]} ${item.payload[8]}`,
          )
        : item.kind;
    clock.after(at - clock.now, `${to.process.name} #${this.number} ${this.kind} ${size}`, () => {
      if (this.halfOpenAt !== null) return;
      if (to.held.length > 0 || this.network.parted(this)) to.held.push(item);
      else this.deliver(to, item);
    });
  }

  deliver(to: End, item: Item): void {
    to.process.run("message", () => {
      if (to.closed) return;
      if (item.kind === "message") to.events.onMessage(item.payload);
      else if (item.kind === "open") to.events.onOpen?.();
      else {
        to.closed = true;
        to.events.onClose(item.code, item.reason);
      }
    });
  }

  /** Both ends learn of it. */
  cut(): void {
    for (const end of this.ends)
      if (!end.closed) this.arrive(end, { kind: "close", code: 1006, reason: "The connection was cut." });
  }

  halfOpen(): void {
    this.halfOpenAt ??= this.network.clock.now;
    this.network.halfOpenOnes.add(this);
  }
}

export class Network {
  readonly clock: VirtualClock;
  readonly random: Random;
  options: NetworkOptions;
  readonly #connections = new Set<Connection>();
  readonly #parted = new Set<string>();
  #count = 0;
  /** To be noticed by whoever holds them. */
  readonly halfOpenOnes = new Set<Connection>();
  /** Sees everything that is sent (null: a close), before anything happens to it. */
  observe: ((connection: Connection, from: End, payload: Payload | null) => void) | null = null;

  constructor(clock: VirtualClock, random: Random, options: NetworkOptions) {
    this.clock = clock;
    this.random = random;
    this.options = options;
  }

  delay(): number {
    const { delayMinMs, delayMaxMs } = this.options;
    return delayMinMs + this.random() * (delayMaxMs - delayMinMs);
  }

  /** Live ones, oldest first. */
  connections(kind: Connection["kind"]): Connection[] {
    for (const connection of this.#connections)
      if (connection.ends.every((end) => end.closed || !end.process.alive)) this.#connections.delete(connection);
    return [...this.#connections].filter((connection) => connection.kind === kind);
  }

  /** @param find who listens, asked when the dial arrives */
  dial(kind: Connection["kind"], from: SimProcess, to: string, find: () => Listener | null, events: EndEvents): End {
    const connection = new Connection(this, kind, (this.#count += 1));
    const own = new End(connection, from, events);
    connection.ends.push(own);
    this.#connections.add(connection);
    from.onEnd.push(() => own.close(1006, "The process ended."));
    this.clock.after(this.delay(), `${from.name} #${connection.number} dials ${to}`, () => {
      if (own.closed || !from.alive) return;
      const listener = find();
      if (listener === null || !listener.process.alive) {
        this.clock.after(this.delay(), `${from.name} #${connection.number} refused`, () =>
          connection.deliver(own, { kind: "close", code: 1006, reason: "Connection refused." }),
        );
        return;
      }
      // Hosts apart: the dial is never answered.
      if (this.#parted.has(pair(from.host, listener.process.host))) return;
      const other = new End(connection, listener.process, { onMessage: () => {}, onClose: () => {} });
      connection.ends.push(other);
      listener.process.onEnd.push(() => other.close(1006, "The process ended."));
      // A frozen process's kernel accepts for it.
      listener.process.run("accept", () => {
        if (!other.closed) other.events = listener.accept(other);
      });
      connection.arrive(own, { kind: "open" });
    });
    return own;
  }

  parted(connection: Connection): boolean {
    const [a, b] = connection.ends;
    return a !== undefined && b !== undefined && this.#parted.has(pair(a.process.host, b.process.host));
  }

  part(a: string, b: string): void {
    this.#parted.add(pair(a, b));
  }

  heal(): void {
    this.#parted.clear();
    for (const connection of this.#connections)
      for (const end of connection.ends) {
        const held = end.held;
        end.held = [];
        // At once, before whatever is still on its way behind them.
        if (connection.halfOpenAt === null)
          for (const item of held)
            this.clock.after(0, `${end.process.name} #${connection.number} healed`, () =>
              connection.deliver(end, item),
            );
      }
  }
}

const pair = (a: string, b: string): string => [a, b].sort().join("|");
