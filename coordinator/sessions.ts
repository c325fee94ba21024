/**
 * Control sessions: who may join, newest incarnation wins, heartbeats, and what each message means to the loop.
 * Knows no sockets (each is a `Wire`) and no clock.
 */
import { parseToCoordinator, type FromCoordinator, type Join } from "../protocol/control.ts";
import type { EngineReport, Engines } from "../protocol/engine-stats.ts";
import { SkeinError } from "../protocol/errors.ts";
import { PROTOCOL, checkCompatible } from "../protocol/heads.ts";
import type { HostId, IngressId, WorkerId } from "../protocol/ids.ts";
import { CONTROL_PING_MS, CONTROL_SILENCE_MAX_MS, HELLO_TIMEOUT_MS, TICKET_LIFETIME_MS } from "../protocol/limits.ts";
import type { PublicKey, Ticket } from "../protocol/ticket.ts";
import { isReservedName } from "./names.ts";
import { peerKey, type Loop, type Peer } from "./loop.ts";

export interface Wire {
  send(text: string): void;
  close(code: number, reason: string): void;
}

export interface Gate {
  /** The ticket's claims, or null when it isn't good. Never says why. */
  ticket(text: string): Ticket | null;
  /** Whether a join token is good; takes no use. */
  isGood(token: string, host: string): boolean;
  /** Takes one use of a join token. */
  redeem(token: string, host: string): boolean;
  /** Null when the worker may come in, else what it waits for. */
  approval(worker: string, join: Join): string | null;
  sign(claims: Ticket): string;
  readonly kid: string;
  readonly keys: readonly PublicKey[];
}

/** A clock that jumped further than this between two ticks, ms, means that this process stood still, not that its peers were silent. */
const STANDSTILL_MS = 2_000;
const POLICY = 1008;

export class Session {
  readonly wire: Wire;
  peer: Peer | null = null;
  incarnation = 0;
  openedAtMs: number;
  heardAtMs: number;
  pingedAtMs: number;
  closed = false;

  constructor(wire: Wire, nowMs: number) {
    this.wire = wire;
    this.openedAtMs = nowMs;
    this.heardAtMs = nowMs;
    this.pingedAtMs = nowMs;
  }
}

export class Sessions {
  readonly #loop: () => Loop;
  readonly #gate: Gate;
  readonly #now: () => number;
  readonly #all = new Set<Session>();
  readonly #byPeer = new Map<string, Session>();
  /** What workers' engines last told, by worker: for metrics alone, so it never enters the state. */
  readonly #engines = new Map<string, Engines>();
  #tickedAtMs: number;

  constructor(loop: () => Loop, gate: Gate, now: () => number) {
    this.#loop = loop;
    this.#gate = gate;
    this.#now = now;
    this.#tickedAtMs = now();
  }

  get size(): number {
    return this.#all.size;
  }

  /** Engines of a replica, where its worker has told of any. */
  enginesOf(worker: string, replica: string): readonly EngineReport[] {
    return this.#engines.get(worker)?.replicas.find((one) => one.replica === replica)?.engines ?? [];
  }

  open(wire: Wire): Session {
    const session = new Session(wire, this.#now());
    this.#all.add(session);
    return session;
  }

  send(peer: Peer, message: FromCoordinator): void {
    this.#byPeer.get(peerKey(peer))?.wire.send(JSON.stringify(message));
  }

  /** Asks a worker to send a replica's log to a reader. False when it isn't connected. */
  ask(worker: string, message: FromCoordinator): boolean {
    const session = this.#byPeer.get(`worker:${worker}`);
    session?.wire.send(JSON.stringify(message));
    return session !== undefined;
  }

  /** A peer that breaks the protocol is told where and closed; nothing it sends can throw from here. */
  receive(session: Session, text: string): void {
    if (session.closed) return;
    session.heardAtMs = this.#now();
    try {
      const message = parseToCoordinator(text);
      if (session.peer === null) {
        if (message.type !== "join") throw new SkeinError("PROTOCOL", "The first message must be a join.");
        this.#join(session, message);
        return;
      }
      const { peer } = session;
      switch (message.type) {
        case "pong":
          return;
        case "join":
          throw new SkeinError("PROTOCOL", "A second join.");
        case "report":
          if (peer.role !== "worker") throw new SkeinError("PROTOCOL", "Only a worker reports.");
          void this.#loop()
            .report(peer.id, message)
            .catch(() => {});
          return;
        case "engines":
          if (peer.role !== "worker") throw new SkeinError("PROTOCOL", "Only a worker has engines.");
          this.#engines.set(peer.id, message);
          return;
        case "stats":
          if (peer.role !== "ingress") throw new SkeinError("PROTOCOL", "Only an ingress sends statistics.");
          void this.#loop()
            .measured(peer.id, message)
            .catch(() => {});
          return;
        case "leave":
          if (peer.role === "worker")
            void this.#loop()
              .dispatch({ type: "left", worker: peer.id, incarnation: session.incarnation })
              .catch(() => {});
          this.#end(session, 1000, "bye");
          return;
      }
    } catch (error) {
      const problem = SkeinError.from(error, "PROTOCOL");
      session.wire.send(JSON.stringify({ type: "refused", code: problem.code, message: problem.message }));
      this.#end(session, POLICY, problem.code);
    }
  }

  /** The socket is gone. */
  closed(session: Session): void {
    if (session.closed) return;
    session.closed = true;
    this.#all.delete(session);
    const { peer } = session;
    if (peer === null || this.#byPeer.get(peerKey(peer)) !== session) return;
    this.#byPeer.delete(peerKey(peer));
    this.#engines.delete(peer.id);
    this.#loop().detach(peer);
    const gone =
      peer.role === "worker"
        ? this.#loop().dispatch({
            type: "disconnected",
            worker: peer.id,
            incarnation: session.incarnation,
            nowMs: this.#now(),
          })
        : this.#loop().dispatch({ type: "ingressGone", ingress: peer.id });
    void gone.catch(() => {});
  }

  tick(): void {
    const now = this.#now();
    const stood = now - this.#tickedAtMs > STANDSTILL_MS;
    this.#tickedAtMs = now;
    for (const session of [...this.#all]) {
      if (stood) session.heardAtMs = now;
      if (session.peer === null) {
        if (now - session.openedAtMs > HELLO_TIMEOUT_MS && !stood) this.#end(session, POLICY, "no join");
      } else if (now - session.heardAtMs > CONTROL_SILENCE_MAX_MS) this.#end(session, 1011, "silent");
      else if (now - session.pingedAtMs >= CONTROL_PING_MS) {
        session.pingedAtMs = now;
        session.wire.send('{"type":"ping"}');
      }
    }
  }

  closeAll(): void {
    for (const session of [...this.#all]) this.#end(session, 1001, "coordinator stops");
  }

  #end(session: Session, code: number, reason: string): void {
    session.wire.close(code, reason);
    this.closed(session);
  }

  #join(session: Session, join: Join): void {
    checkCompatible(PROTOCOL, { ...join.protocol, build: join.build });
    if (isReservedName(join.id) || isReservedName(join.host)) throw new SkeinError("PROTOCOL", "This id is reserved.");
    const peer: Peer =
      join.role === "worker"
        ? { role: "worker", id: join.id as WorkerId }
        : { role: "ingress", id: join.id as IngressId, host: join.host as HostId };
    if (!this.#admitted(join))
      throw new SkeinError(
        "UNAUTHENTICATED",
        "Joining was refused. Ask the operator of this mesh for a valid join token.",
      );
    if (join.role === "worker" && join.capabilities === undefined)
      throw new SkeinError("PROTOCOL", "A worker joins with its capabilities.");
    const known = join.role === "worker" ? (this.#loop().state.workers[join.id]?.incarnation ?? -1) : -1;
    const other = this.#byPeer.get(peerKey(peer));
    if (join.incarnation < Math.max(known, other?.incarnation ?? -1))
      throw new SkeinError("CONFLICT", `A newer process of this ${join.role} has joined; this one is to stop.`);
    if (other !== undefined) this.#end(other, POLICY, "replaced by a newer connection");
    session.peer = peer;
    session.incarnation = join.incarnation;
    this.#byPeer.set(peerKey(peer), session);
    const claims = { kid: this.#gate.kid, notAfter: this.#now() + TICKET_LIFETIME_MS };
    const ticket =
      peer.role === "worker"
        ? this.#gate.sign({ use: "worker", ...claims, worker: peer.id, host: join.host })
        : this.#gate.sign({ use: "ingress", ...claims, ingress: peer.id, host: join.host });
    const welcome: FromCoordinator = {
      type: "welcome",
      ticket,
      term: this.#loop().state.term,
      timeMs: this.#now(),
      keys: [...this.#gate.keys],
    };
    session.wire.send(JSON.stringify(welcome));
    this.#loop().attach(peer);
    const told =
      join.role === "worker" && join.capabilities !== undefined
        ? this.#loop().dispatch({
            type: "joined",
            worker: join.id as WorkerId,
            host: join.host as HostId,
            incarnation: join.incarnation,
            capabilities: join.capabilities,
          })
        : this.#loop().tick();
    void told.catch(() => {});
  }

  /** Whoever is refused learns nothing about which part was wrong. */
  #admitted(join: Join): boolean {
    const ticket = join.credential.includes(".") ? this.#gate.ticket(join.credential) : null;
    if (join.role === "ingress")
      return ticket?.use === "ingress" && ticket.ingress === join.id && ticket.host === join.host;
    const good =
      ticket !== null
        ? ticket.use === "worker" && ticket.worker === join.id && ticket.host === join.host
        : this.#gate.isGood(join.credential, join.host);
    if (!good) return false;
    const waits = this.#gate.approval(join.id, join);
    if (waits !== null) throw new SkeinError("UNAVAILABLE", waits);
    // Only now: a worker that waited comes again with the same token.
    return ticket !== null || this.#gate.redeem(join.credential, join.host);
  }
}
