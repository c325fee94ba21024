/**
 * The data link to one ingress: dials its URLs in order (the relay comes last), greets with the ticket, and dials again when it is lost.
 * Knows the link's life, not what its streams carry.
 */
import { Link, type LinkEvents } from "../../protocol/link.ts";
import type { OpenHead } from "../../protocol/heads.ts";
import type { Stream, StreamEvents } from "../../protocol/stream.ts";
import type { IngressAddress } from "../../protocol/control.ts";
import type { Connection, ReplicaPlatform } from "./platform.ts";

/** A URL that doesn't open within this, ms, is passed over. */
const CONNECT_TIMEOUT_MS = 3_000;
/** Pause after all URLs failed, ms: doubled up to the maximum, then a random share of it from a half to the whole, so that replicas don't dial in step. */
const BACKOFF_MIN_MS = 50;
const BACKOFF_MAX_MS = 1_000;

export interface IngressLinkOwner {
  readonly platform: ReplicaPlatform;
  readonly build: string;
  /** The ticket as it is now. */
  ticket(): string;
  /** Requests in hand. */
  load(): number;
  onStream(link: IngressLink, stream: Stream, head: OpenHead, ended: boolean): StreamEvents;
  /** A link became ready. */
  onChange(): void;
}

export class IngressLink {
  readonly #owner: IngressLinkOwner;
  #address: IngressAddress;
  #link: Link | undefined;
  #connection: Connection | undefined;
  #next = 0;
  #failures = 0;
  #stopWaiting: (() => void) | undefined;
  #ended = false;
  #retired = false;
  #parked = false;

  constructor(owner: IngressLinkOwner, address: IngressAddress) {
    this.#owner = owner;
    this.#address = address;
    this.#dial();
  }

  get host(): string {
    return this.#address.host;
  }
  /** Set when streams can be opened on it. */
  get ready(): Link | undefined {
    if (this.#retired) return undefined;
    return this.#link?.state === "ready" && !this.#link.draining ? this.#link : undefined;
  }

  /** It is wanted, with these URLs; a link that is up stays. */
  readdress(address: IngressAddress): void {
    this.#address = address;
    this.#retired = false;
    if (this.#parked) this.#dial();
  }

  /** It is no longer wanted: not dialled again. A link that is up stays until the ingress, which drains, closes it: requests run on it. */
  retire(): void {
    this.#retired = true;
  }

  /** Retired, and nothing is left of it. */
  get over(): boolean {
    return this.#parked;
  }

  tick(now: number): void {
    this.#link?.tick(now);
  }

  setLoad(load: number): void {
    if (this.#link !== undefined) this.#link.localLoad = load;
  }
  reportLoad(): void {
    this.#link?.reportLoad();
  }

  goaway(reason: string): void {
    this.#link?.goaway(reason);
  }

  close(code: number, reason: string): void {
    this.#ended = true;
    this.#stopWaiting?.();
    this.#link?.close(code, reason);
    this.#connection?.close(code, reason);
  }

  #dial(): void {
    this.#parked = this.#retired;
    if (this.#parked) return;
    const { platform } = this.#owner;
    const urls = this.#address.urls;
    const url = urls[this.#next % Math.max(urls.length, 1)];
    if (url === undefined) return this.#again("no address");
    this.#next++;
    let over = false;
    const lost = (code: number, reason: string): void => {
      if (over) return;
      over = true;
      stopTimeout();
      const link = this.#link;
      this.#link = this.#connection = undefined;
      link?.closed(code, reason);
      this.#again(`${url}: ${reason || `closed with ${code}`}`);
    };
    const stopTimeout = platform.after(CONNECT_TIMEOUT_MS, () => {
      connection.close(1000, "The connection took too long.");
      lost(1006, `not open within ${CONNECT_TIMEOUT_MS} ms`);
    });
    const connection = platform.connect(url, {
      onOpen: () => {
        stopTimeout();
        if (!over) this.#greet(connection, lost);
      },
      onMessage: (message) => this.#link?.receive(message, platform.now()),
      onClose: lost,
    });
    if (!over) this.#connection = connection;
  }

  #greet(connection: Connection, lost: (code: number, reason: string) => void): void {
    const { platform, build } = this.#owner;
    const events: LinkEvents = {
      onHello: () => {
        // Lost again, it is dialled from the first URL on and soon.
        this.#failures = this.#next = 0;
        this.#owner.onChange();
      },
      onStream: (stream, head, ended) => this.#owner.onStream(this, stream, head, ended),
      onClose: (code, reason) => lost(code, reason),
    };
    const io = {
      send: (message: Uint8Array) => connection.send(message),
      close: (code: number, reason: string) => connection.close(code, reason),
      afterTurn: (callback: () => void) => platform.afterTurn(callback),
    };
    this.#link = new Link("dialler", io, events, platform.now());
    this.#link.localLoad = this.#owner.load();
    this.#link.greet({ build, features: [], ticket: this.#owner.ticket() });
  }

  /** The next URL at once; a pause after the last. */
  #again(why: string): void {
    if (this.#ended) return;
    const { platform } = this.#owner;
    if (this.#next > 0 && this.#next < this.#address.urls.length) {
      this.#stopWaiting = platform.after(0, () => this.#dial());
      return;
    }
    this.#next = 0;
    const pause = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** this.#failures) * (0.5 + platform.random() / 2);
    if (this.#failures++ === 4)
      platform.log("warn", `Ingress ${this.#address.ingress} can't be reached yet (${why}); trying on.`);
    this.#stopWaiting = platform.after(pause, () => this.#dial());
  }
}
