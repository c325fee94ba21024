/**
 * The worker's end of the control link: dials the coordinator, joins, answers pings, notices silence, and dials again with full jitter,
 * for ever. Knows what is said on the link's own behalf only; assignments and reports pass through.
 */
import { isErrorCode, SkeinError } from "../../protocol/errors.ts";
import { PROTOCOL } from "../../protocol/heads.ts";
import { CONTROL_SILENCE_MAX_MS } from "../../protocol/limits.ts";
import {
  parseFromCoordinator,
  type Capabilities,
  type FromCoordinator,
  type ToCoordinator,
  type Welcome,
} from "../../protocol/control.ts";
import { JOIN_TIMEOUT_MS, RECONNECT_BASE_MS, RECONNECT_CAP_MS } from "./limits.ts";
import type { AgentPlatform, Cancel, ControlConnection } from "./platform.ts";

export interface Identity {
  readonly workerId: string;
  readonly hostId: string;
  /** Rises with every process of this worker. */
  readonly incarnation: number;
  readonly build: string;
}

export interface ControlLinkEvents {
  onWelcome(welcome: Welcome): void;
  /** Everything but welcome, refused and ping. */
  onMessage(message: FromCoordinator): void;
  /** The coordinator won't have this worker, and trying again as it is can't help: the link has ended. */
  onRefused(error: SkeinError): void;
  /** A connection (attempt) ended; another follows. */
  onDown(reason: string): void;
}

/** Refusals that another attempt can't overcome. Any other is a connection that went wrong: replicas must not die of it. */
const FINAL: ReadonlySet<string> = new Set(["UNAUTHENTICATED", "PERMISSION_DENIED", "INCOMPATIBLE", "CONFLICT"]);

export class ControlLink {
  readonly #urls: readonly string[];
  readonly #identity: Identity;
  readonly #platform: Pick<AgentPlatform, "connect" | "now" | "after" | "random">;
  readonly #events: ControlLinkEvents;
  readonly #token: string;
  #ticket: string | null;
  #capabilities: Capabilities;
  #connection: ControlConnection | null = null;
  #attempt = 0;
  #dialledAt = 0;
  #heardAt = 0;
  #welcomed = false;
  #ended = false;
  #retry: Cancel | null = null;

  /** `urls`: of the control endpoint, tried in turn. `ticket`: of an earlier life, tried before the join token. */
  constructor(
    options: {
      readonly urls: readonly string[];
      readonly identity: Identity;
      readonly token: string;
      readonly ticket: string | null;
      readonly capabilities: Capabilities;
    },
    platform: Pick<AgentPlatform, "connect" | "now" | "after" | "random">,
    events: ControlLinkEvents,
  ) {
    this.#urls = options.urls;
    this.#identity = options.identity;
    this.#token = options.token;
    this.#ticket = options.ticket;
    this.#capabilities = options.capabilities;
    this.#platform = platform;
    this.#events = events;
  }

  /** Joined, and heard of lately. */
  get up(): boolean {
    return this.#welcomed;
  }
  /** The credential of now: "" before the first welcome. */
  get ticket(): string {
    return this.#ticket ?? "";
  }

  start(): void {
    this.#dial();
  }

  /** False when the link is down: what is sent is a level, and goes out again after the next welcome. */
  send(message: ToCoordinator): boolean {
    if (!this.#welcomed || this.#connection === null) return false;
    this.#connection.send(JSON.stringify(message));
    return true;
  }

  /** Joins again with what this worker can do now. */
  announce(capabilities: Capabilities): void {
    this.#capabilities = capabilities;
    if (this.#welcomed) this.#drop("The worker's capabilities changed.", 0);
  }

  stop(reason: string): void {
    this.#ended = true;
    this.#retry?.();
    const connection = this.#connection;
    this.#connection = null;
    this.#welcomed = false;
    connection?.close(reason);
  }

  /** Call about twice a second. */
  tick(): void {
    if (this.#connection === null || this.#ended) return;
    const now = this.#platform.now();
    // Pings alone are no welcome.
    if (!this.#welcomed && now - this.#dialledAt > JOIN_TIMEOUT_MS)
      this.#drop(`No welcome within ${JOIN_TIMEOUT_MS} ms.`);
    else if (this.#welcomed && now - this.#heardAt > CONTROL_SILENCE_MAX_MS)
      this.#drop(`Nothing heard of the coordinator for ${Math.round(now - this.#heardAt)} ms.`);
  }

  #dial(): void {
    this.#retry = null;
    const url = this.#urls[this.#attempt % this.#urls.length];
    if (url === undefined) throw new SkeinError("INVALID_ARGUMENT", "A worker needs the URL of a mesh.");
    this.#attempt += 1;
    this.#dialledAt = this.#heardAt = this.#platform.now();
    let closed = false;
    const mine = (): boolean => !closed && this.#connection === connection && !this.#ended;
    const connection: ControlConnection = this.#platform.connect(url, {
      onOpen: () => mine() && this.#join(connection),
      onMessage: (text) => mine() && this.#receive(text),
      onClose: (reason) => {
        if (mine()) this.#drop(reason);
        closed = true;
      },
    });
    this.#connection = connection;
  }

  #join(connection: ControlConnection): void {
    const { workerId, hostId, incarnation, build } = this.#identity;
    const join: ToCoordinator = {
      type: "join",
      protocol: PROTOCOL,
      build,
      role: "worker",
      credential: this.#ticket ?? this.#token,
      id: workerId,
      host: hostId,
      incarnation,
      capabilities: this.#capabilities,
    };
    connection.send(JSON.stringify(join));
  }

  #receive(text: string): void {
    this.#heardAt = this.#platform.now();
    let message: FromCoordinator;
    try {
      message = parseFromCoordinator(text);
    } catch (thrown) {
      this.#drop(SkeinError.from(thrown).message);
      return;
    }
    if (message.type === "ping") this.#connection?.send(JSON.stringify({ type: "pong" } satisfies ToCoordinator));
    else if (message.type === "refused") this.#refused(message.code, message.message);
    else if (message.type === "welcome") {
      this.#attempt = 0;
      this.#welcomed = true;
      this.#ticket = message.ticket;
      this.#events.onWelcome(message);
    } else this.#events.onMessage(message);
  }

  #refused(code: string, message: string): void {
    // The ticket is of another mesh, or older than its keys: the join token may do.
    if (
      this.#ticket !== null &&
      this.#token !== "" &&
      !this.#welcomed &&
      (code === "UNAUTHENTICATED" || code === "PERMISSION_DENIED")
    ) {
      this.#ticket = null;
      this.#drop(message, 0);
    } else if (!FINAL.has(code)) this.#drop(message);
    else {
      this.stop("Refused.");
      this.#events.onRefused(new SkeinError(isErrorCode(code) ? code : "PERMISSION_DENIED", message));
    }
  }

  #drop(reason: string, delayMs?: number): void {
    const connection = this.#connection;
    this.#connection = null;
    this.#welcomed = false;
    connection?.close(reason);
    this.#events.onDown(reason);
    if (this.#ended) return;
    const bound = Math.min(RECONNECT_CAP_MS, RECONNECT_BASE_MS * 2 ** Math.min(this.#attempt, 10));
    this.#retry = this.#platform.after(delayMs ?? this.#platform.random() * bound, () => this.#dial());
  }
}
