/**
 * One connection of a replica, or of a script that only calls: checks its ticket offline, then joins its link to the mesh. The newest incarnation wins;
 * of one incarnation the newest connection. Knows links and tickets; the socket is behind `Connection`.
 */
import { SkeinError } from "../../protocol/errors.ts";
import { CLOSE, Link, type LinkIo } from "../../protocol/link.ts";
import { verifyTicket, type PublicKey, type ReplicaTicket } from "../../protocol/ticket.ts";
import type { Mesh } from "../mesh.ts";
import { ANYONE, switched, type Callees, type SwitchContext } from "../switch.ts";

export interface LinksContext extends SwitchContext {
  readonly mesh: Mesh;
  readonly ingress: string;
  readonly build: string;
  /** The coordinator's time, ms since 1970, as well as known. */
  meshTime(): number;
  keys(): readonly PublicKey[];
}

/** The links by replica: to find the older connection of one that dials again, and those that a new table forbids. */
export class Sessions {
  readonly #context: LinksContext;
  readonly #all = new Set<Session>();
  readonly #byReplica = new Map<string, Session>();

  constructor(context: LinksContext) {
    this.#context = context;
  }

  get size(): number {
    return this.#byReplica.size;
  }

  /** A new connection. */
  open(io: LinkIo): Session {
    const session = new Session(this.#context, io, this);
    this.#all.add(session);
    return session;
  }

  /** False: a newer incarnation is linked already. */
  admit(session: Session, ticket: ReplicaTicket): boolean {
    const other = this.#byReplica.get(ticket.replica);
    if (other !== undefined && other.ticket!.incarnation > ticket.incarnation) return false;
    this.#byReplica.set(ticket.replica, session);
    this.#context.mesh.linked(ticket, session.link);
    other?.link.close(CLOSE.notAllowed, "A newer connection of this replica has taken over.");
    return true;
  }

  closed(session: Session): void {
    this.#all.delete(session);
    const { ticket } = session;
    if (ticket === null) return;
    if (this.#byReplica.get(ticket.replica) === session) this.#byReplica.delete(ticket.replica);
    this.#context.mesh.unlinked(ticket, session.link);
  }

  /** About twice a second. */
  tick(now: number): void {
    for (const session of [...this.#all]) session.link.tick(now);
  }

  /** After a new table: replicas whose tickets are revoked must go. */
  enforce(): void {
    for (const session of [...this.#all])
      if (session.ticket !== null && this.#context.mesh.isRevoked(session.ticket.replica))
        session.link.close(CLOSE.notAllowed, "The ticket was revoked.");
  }

  /** This ingress ends. */
  closeAll(reason: string): void {
    for (const session of [...this.#all]) session.link.close(CLOSE.goingAway, reason);
  }
}

const REFUSED = "The ticket is not valid here: broken, expired, revoked, or not for this mesh.";

export class Session {
  readonly link: Link;
  /** Null until it is checked, and for a script. */
  ticket: ReplicaTicket | null = null;

  constructor(context: LinksContext, io: LinkIo, sessions: Sessions) {
    let callees: Callees = new Set<string>();
    const check = async (text: string | undefined): Promise<void> => {
      try {
        const ticket = await verifyTicket(text ?? "", context.keys(), context.meshTime());
        const known = ticket.use === "caller" || (ticket.use === "replica" && !context.mesh.isRevoked(ticket.replica));
        if (!known) throw new SkeinError("UNAUTHENTICATED", "Neither a replica's nor a caller's, or revoked.");
        if (this.link.state === "closed") return;
        callees = ticket.use === "caller" ? ANYONE : new Set(ticket.callees);
        this.link.welcome({ build: context.build, features: [], ingress: context.ingress, timeMs: context.meshTime() });
        if (ticket.use === "caller") return;
        this.ticket = ticket;
        if (!sessions.admit(this, ticket))
          this.link.close(CLOSE.notAllowed, "A newer incarnation of this replica is linked.");
      } catch (thrown) {
        // Whoever is refused learns nothing about which part was wrong.
        const why = SkeinError.from(thrown);
        this.link.close(CLOSE.notAllowed, why.code === "UNAUTHENTICATED" ? REFUSED : why.message);
      }
    };
    this.link = new Link(
      "listener",
      io,
      {
        onHello: (hello) => void check(hello.ticket),
        onStream: (stream, head, ended) => switched(context, callees, stream, head, ended),
        onLoad: (load) => {
          if (this.ticket !== null) context.mesh.reported(this.ticket, load);
        },
        onGoaway: () => {},
        onTrusted: () => {
          if (this.ticket !== null) context.mesh.trusted(this.ticket);
        },
        onClose: () => sessions.closed(this),
      },
      context.now(),
    );
  }
}
