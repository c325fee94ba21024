/**
 * The ingress's end of the control link: joins with the ticket of its spec, takes routing tables, reports load.
 * Reconnects for ever with full jitter; the ingress serves on meanwhile. The socket is injected.
 */
import { SkeinError } from "../protocol/errors.ts";
import { PROTOCOL } from "../protocol/heads.ts";
import { CONTROL_SILENCE_MAX_MS } from "../protocol/limits.ts";
import { parseFromCoordinator, type IngressStats, type Join } from "../protocol/control.ts";
import type { RoutingTable } from "../protocol/routes.ts";
import type { PublicKey } from "../protocol/ticket.ts";

/** Reconnect after a random time up to this, ms, doubled each time up to the maximum. */
const RETRY_FIRST_MS = 250;
const RETRY_MAX_MS = 5_000;
/** Load is reported this often, ms, and when a queue begins or ends. */
const STATS_MS = 1_000;

export interface ControlConnection {
  send(message: string): void;
  close(): void;
}
export interface ControlEvents {
  onOpen(): void;
  onMessage(message: string): void;
  /** Once, also when it never opened. */
  onClose(reason: string): void;
}

export interface ControlContext {
  readonly urls: readonly string[];
  readonly ingress: string;
  readonly host: string;
  readonly build: string;
  readonly incarnation: number;
  connect(url: string, events: ControlEvents): ControlConnection;
  /** ms, monotonic. */
  now(): number;
  random(): number;
  stats(): IngressStats;
  onTable(table: RoutingTable): void;
  /** Keys and clock of the coordinator. */
  onWelcome(keys: readonly PublicKey[], timeMs: number): void;
  log(message: string): void;
}

export class ControlLink {
  readonly #context: ControlContext;
  #credential: string;
  #connection: ControlConnection | null = null;
  #joined = false;
  #stopped = false;
  #url = 0;
  #failures = 0;
  #dialAt = 0;
  #dialledAt = 0;
  #heardAt = 0;
  #reportedAt = Number.NEGATIVE_INFINITY;
  #dirty = false;

  constructor(context: ControlContext, credential: string) {
    this.#context = context;
    this.#credential = credential;
  }

  get joined(): boolean {
    return this.#joined;
  }

  /** A new spec brought another ticket. */
  useCredential(credential: string): void {
    this.#credential = credential;
  }

  /** Load changed in a way that the coordinator wants to know at the next tick. */
  changed(): void {
    this.#dirty = true;
  }

  /** Call several times a second: dials, reports, notices silence. */
  tick(): void {
    if (this.#stopped) return;
    const now = this.#context.now();
    if (this.#connection === null) {
      if (now >= this.#dialAt) this.#dial(now);
      return;
    }
    // Pings alone are no welcome.
    if (!this.#joined && now - this.#dialledAt > CONTROL_SILENCE_MAX_MS)
      return this.#drop("The coordinator doesn't answer the join.");
    if (now - this.#heardAt > CONTROL_SILENCE_MAX_MS) return this.#drop("The coordinator is silent.");
    if (this.#joined && (this.#dirty || now - this.#reportedAt >= STATS_MS)) this.#report(now);
  }

  stop(): void {
    this.#stopped = true;
    if (this.#joined) this.#connection?.send(JSON.stringify({ type: "leave", reason: "The ingress stops." }));
    this.#connection?.close();
    this.#connection = null;
  }

  #report(now: number): void {
    this.#dirty = false;
    this.#reportedAt = now;
    this.#connection?.send(JSON.stringify(this.#context.stats()));
  }

  #dial(now: number): void {
    const { urls } = this.#context;
    const url = urls[this.#url++ % urls.length];
    if (url === undefined) return;
    this.#dialledAt = this.#heardAt = now;
    this.#joined = false;
    const mine = (): boolean => this.#connection === connection;
    const connection: ControlConnection = this.#context.connect(url, {
      onOpen: () => {
        if (mine()) connection.send(JSON.stringify(this.#join()));
      },
      onMessage: (message) => {
        if (mine()) this.#message(message);
      },
      onClose: (reason) => {
        if (mine()) this.#drop(reason);
      },
    });
    this.#connection = connection;
  }

  #join(): Join {
    const { ingress, host, build, incarnation } = this.#context;
    return {
      type: "join",
      protocol: PROTOCOL,
      build,
      role: "ingress",
      credential: this.#credential,
      id: ingress,
      host,
      incarnation,
    };
  }

  #message(text: string): void {
    this.#heardAt = this.#context.now();
    try {
      const message = parseFromCoordinator(text);
      switch (message.type) {
        case "welcome":
          this.#joined = true;
          this.#failures = 0;
          this.#credential = message.ticket;
          this.#context.onWelcome(message.keys, message.timeMs);
          return;
        case "refused":
          return this.#drop(`The coordinator refused this ingress: ${message.message}`);
        case "routes":
          this.#context.onTable(message.table);
          return this.#report(this.#heardAt);
        case "ping":
          this.#connection?.send('{"type":"pong"}');
          return;
        default:
          return;
      }
    } catch (thrown) {
      this.#drop(SkeinError.from(thrown).message);
    }
  }

  #drop(reason: string): void {
    const connection = this.#connection;
    this.#connection = null;
    if (this.#joined || this.#failures === 0)
      this.#context.log(`No link to the coordinator: ${reason} Serving goes on with the last routing table.`);
    this.#joined = false;
    connection?.close();
    this.#failures += 1;
    this.#dialAt =
      this.#context.now() +
      this.#context.random() * Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(this.#failures, 10));
  }
}
