/**
 * A link: the long-lived session between a replica (which dials) and an ingress (which listens), as a state machine without
 * sockets, timers or clocks: bytes come in by `receive`, go out by `io.send`, time comes in by `tick`. Either side opens streams.
 *
 *   dialler:  hello sent -> ready -> closed          listener:  waiting -> hello got (owner checks the ticket) -> ready -> closed
 *
 * A message is sent at the end of the turn in which its frames were made, or when it is full.
 * Whatever breaks the rules ends the link with close code 1002; its streams fail as lost.
 */
import { SkeinError } from "./errors.ts";
import { FLAG, FRAME_HEADER, FrameBatch, KIND, decodeFrames, type Frame, type Kind } from "./frame.ts";
import {
  PROTOCOL,
  checkCompatible,
  decodeEnd,
  decodeFail,
  decodeHello,
  decodeOpen,
  decodeResponseHead,
  encodeOpen,
  packHead,
  type Hello,
  type OpenHead,
} from "./heads.ts";
import { HELLO_TIMEOUT_MS, LINK_MESSAGE_MAX, LINK_SILENCE_MAX_MS, LINK_STREAMS_MAX, LINK_WINDOW } from "./limits.ts";
import { Liveness } from "./liveness.ts";
import { Stream, type Loss, type StreamDecoders, type StreamEvents, type StreamLink } from "./stream.ts";

/** Close codes of a data link's WebSocket (4000-4999 are ours). */
export const CLOSE = {
  normal: 1000,
  goingAway: 1001,
  protocol: 1002,
  /** No close frame came: the socket's own word for it. */
  broken: 1006,
  internal: 1011,
  notAllowed: 4001,
  silent: 4002,
  incompatible: 4003,
  /** This side stood still for longer than silence is borne. */
  away: 4004,
} as const;

export interface LinkIo {
  /** Hands a message to the socket. The bytes are not touched again. */
  send(message: Uint8Array): void;
  close(code: number, reason: string): void;
  /** Calls back once, at the end of this turn of the event loop. */
  afterTurn(callback: () => void): void;
}

export interface LinkEvents {
  /** Listener: check the ticket, then call `welcome` or `close`. Dialler: the link is ready. */
  onHello(hello: Hello): void;
  /** A stream that the peer opened. `ended`: no body follows. Returns what to tell about it. */
  onStream(stream: Stream, head: OpenHead, ended: boolean): StreamEvents;
  /** The peer's count of requests in hand. */
  onLoad?(load: number): void;
  /** The peer wants no new streams; those that run go on. */
  onGoaway?(reason: string): void;
  /** `doubted` no longer. */
  onTrusted?(): void;
  onClose(code: number, reason: string): void;
}

/** Closed by this side because of these, the peer is at fault. */
const FAULTS: ReadonlySet<number> = new Set([CLOSE.silent, CLOSE.protocol, CLOSE.internal]);

type State = "waiting" | "greeting" | "ready" | "closed";

const textDecoder = new TextDecoder();
const encoder = new TextEncoder();
const DECODERS: StreamDecoders = {
  head: decodeResponseHead,
  end: decodeEnd,
  fail: decodeFail,
  text: (bytes) => textDecoder.decode(bytes),
};
/** A message this full is sent without waiting for the turn's end, so that a big body starts to flow. */
const FLUSH_AT = LINK_MESSAGE_MAX / 2;

export class Link implements StreamLink {
  readonly role: "dialler" | "listener";
  /** The peer has sent goaway: open no streams. */
  draining = false;
  /** Requests in hand on this side, sent with accept, busy, end. Set by the owner. */
  localLoad = 0;

  readonly #io: LinkIo;
  readonly #events: LinkEvents;
  #state: State = "waiting";
  #batch = new FrameBatch();
  #flushing = false;
  readonly #streams = new Map<number, Stream>();
  #nextId: number;
  #lastPeerId = 0;
  #sendWindow = LINK_WINDOW;
  #receiveWindow = LINK_WINDOW;
  #ungranted = 0;
  /** Streams held back by the link's window, served in turn. */
  readonly #blocked = new Set<Stream>();
  #bornAt: number;
  readonly #life: Liveness;

  constructor(role: "dialler" | "listener", io: LinkIo, events: LinkEvents, now: number) {
    this.role = role;
    this.#io = io;
    this.#events = events;
    this.#nextId = role === "dialler" ? 1 : 2;
    this.#bornAt = now;
    this.#life = new Liveness(now);
  }

  get state(): State {
    return this.#state;
  }
  get streams(): number {
    return this.#streams.size;
  }
  /** This side was away, and whether the peer still holds the link is not known yet: open no streams. */
  get doubted(): boolean {
    return this.#life.doubted;
  }

  /** Dialler: the first frame. */
  greet(hello: Omit<Hello, "min" | "max">): void {
    this.#hello(hello);
    this.#state = "greeting";
  }

  /** Listener: the ticket is good. */
  welcome(hello: Omit<Hello, "min" | "max">): void {
    if (this.#state !== "greeting") return;
    this.#hello(hello);
    this.#state = "ready";
    this.flush();
  }

  /**
   * Opens a stream. Throws `UNAVAILABLE` when the link isn't ready, drains or is full, `TOO_LARGE` when the head fits no frame.
   * `ended`: no body follows.
   */
  open(head: OpenHead, events: StreamEvents, ended = false): Stream {
    if (this.#state !== "ready" || this.draining) throw new SkeinError("UNAVAILABLE", "The link takes no new streams.");
    if (this.#streams.size >= LINK_STREAMS_MAX)
      throw new SkeinError("UNAVAILABLE", `The link has ${LINK_STREAMS_MAX} streams open.`);
    const payload = encodeOpen(head);
    const stream = new Stream(this, this.#nextId, head.epoch & 0xffff, true, events);
    this.#nextId += 2;
    this.#streams.set(stream.id, stream);
    this.emit(KIND.open, ended ? FLAG.end : 0, stream.epoch, stream.id, 0, payload);
    return stream;
  }

  /** A message from the socket. Never throws: what breaks the rules closes the link. */
  receive(message: Uint8Array, now: number): void {
    if (this.#gone(now)) return;
    this.#life.heard(now);
    try {
      decodeFrames(message, (frame) => this.#frame(frame));
    } catch (thrown) {
      const error = SkeinError.from(thrown);
      const code = error.code === "INCOMPATIBLE" ? CLOSE.incompatible : CLOSE.protocol;
      if (error.code !== "PROTOCOL" && error.code !== "INCOMPATIBLE")
        this.close(CLOSE.internal, `Internal error: ${error.message}`);
      else this.close(code, error.message);
    }
  }

  /** ms since anything came. */
  silence(now: number): number {
    return this.#life.silence(now);
  }

  /** Call about twice a second: liveness. The listening side pings; both notice silence. */
  tick(now: number): void {
    if (this.#gone(now)) return;
    if (this.#state !== "ready") {
      if (now - this.#bornAt > HELLO_TIMEOUT_MS) this.close(CLOSE.silent, "No hello in time.");
      return;
    }
    if (this.#life.silent(now)) {
      this.close(CLOSE.silent, `Nothing heard for ${LINK_SILENCE_MAX_MS} ms.`);
      return;
    }
    if (this.role === "listener") this.#ping(now);
  }

  /** Tells the peer this side's load outside of any stream. */
  reportLoad(): void {
    if (this.#state === "ready") this.emit(KIND.load, 0, 0, 0, this.localLoad);
  }

  /** Asks the peer to open no more streams. */
  goaway(reason: string): void {
    if (this.#state === "ready") this.emit(KIND.goaway, 0, 0, 0, 0, encoder.encode(reason.slice(0, 200)));
  }

  close(code: number, reason: string): void {
    if (this.#state === "closed") return;
    this.flush();
    this.#io.close(code, reason.slice(0, 120));
    this.#end(code, reason, FAULTS.has(code) ? "died" : "parted");
  }

  /** The socket is gone. `now`: when that was read, ms. */
  closed(code: number, reason: string, now: number = this.#life.ranAt): void {
    if (this.#gone(now)) return;
    this.#end(code, reason, (code === CLOSE.broken || code === CLOSE.away) && !this.doubted ? "died" : "parted");
  }

  /** Sends what this turn has made so far. */
  flush(): void {
    if (this.#batch.length > 0 && this.#state !== "closed") this.#io.send(this.#batch.take());
  }

  /** Chunk bytes that have come and were not given back yet: 0 while nothing is in hand. */
  get held(): number {
    return LINK_WINDOW - this.#receiveWindow - this.#ungranted;
  }

  // --- for streams ---

  emit(kind: Kind, flags: number, epoch: number, stream: number, value: number, payload?: Uint8Array): void {
    if (this.#state === "closed") return;
    if (this.#batch.length + FRAME_HEADER + (payload?.byteLength ?? 0) > LINK_MESSAGE_MAX) this.flush();
    this.#batch.add(kind, flags, epoch, stream, value, payload);
    if (this.#batch.length >= FLUSH_AT) this.flush();
    else if (!this.#flushing) {
      this.#flushing = true;
      this.#io.afterTurn(() => {
        this.#flushing = false;
        this.flush();
      });
    }
  }

  takeWindow(bytes: number): boolean {
    if (bytes > this.#sendWindow) return false;
    this.#sendWindow -= bytes;
    return true;
  }

  block(stream: Stream): void {
    this.#blocked.add(stream);
  }

  returned(bytes: number): void {
    this.#ungranted += bytes;
    if (this.#ungranted < LINK_WINDOW / 4 || this.#state === "closed") return;
    this.emit(KIND.credit, 0, 0, 0, this.#ungranted);
    this.#receiveWindow += this.#ungranted;
    this.#ungranted = 0;
  }

  forget(stream: Stream): void {
    this.#streams.delete(stream.id);
    this.#blocked.delete(stream);
  }

  load(): number {
    return this.localLoad;
  }

  // --- life ---

  /**
   * This side runs. A listener that was away asks before it relies on the link again. A dialler that was away for so long that it was given up
   * ends the link unread: what still waits in its socket has been sent to another replica. True: the link is closed.
   */
  #gone(now: number): boolean {
    if (this.#state === "closed") return true;
    const away = this.#life.ran(now);
    if (away === 0) return false;
    this.#bornAt = now;
    if (this.#state !== "ready") return false;
    if (this.role === "listener") {
      this.#life.doubt(now);
      this.#ping(now);
    } else if (away > LINK_SILENCE_MAX_MS) this.close(CLOSE.away, `This side stood still for ${Math.round(away)} ms.`);
    // `close` may have been called.
    return (this.#state as State) === "closed";
  }

  #ping(now: number): void {
    const nonce = this.#life.ping(now);
    if (nonce !== null) this.emit(KIND.ping, 0, 0, 0, nonce);
  }

  #end(code: number, reason: string, how: Loss): void {
    this.#state = "closed";
    this.#blocked.clear();
    for (const stream of [...this.#streams.values()])
      stream.lose({ code: "REPLICA_DIED", message: reason || "The link is gone." }, how);
    this.#events.onClose(code, reason);
  }

  // --- frames ---

  #hello(hello: Omit<Hello, "min" | "max">): void {
    this.emit(KIND.hello, 0, 0, 0, 0, packHead("hello", { ...PROTOCOL, ...hello }));
    this.flush();
  }

  #frame(frame: Frame): void {
    if (this.#state === "closed") return;
    if (this.#state !== "ready") return this.#greeting(frame);
    if (frame.stream === 0) return this.#own(frame);
    if (frame.kind === KIND.open) return this.#opened(frame);
    // Taken for every chunk, known stream or not: the peer has counted it.
    if (frame.kind === KIND.chunk) {
      this.#receiveWindow -= frame.payload.byteLength + FRAME_HEADER;
      if (this.#receiveWindow < 0) throw new SkeinError("PROTOCOL", "The link's window was overrun.");
    }
    const stream = this.#streams.get(frame.stream);
    if (stream === undefined || frame.epoch !== stream.epoch) {
      const mine = frame.stream % 2 === this.#nextId % 2;
      if (stream === undefined && (mine ? frame.stream >= this.#nextId : frame.stream > this.#lastPeerId))
        throw new SkeinError("PROTOCOL", `Stream ${frame.stream} was never opened.`);
      // A closed stream's late frames (or an old epoch's) are dropped.
      if (frame.kind === KIND.chunk) this.returned(frame.payload.byteLength + FRAME_HEADER);
      return;
    }
    stream.receive(frame.kind, frame.flags, frame.value, frame.payload, DECODERS);
  }

  #greeting(frame: Frame): void {
    const due = this.role === "listener" ? this.#state === "waiting" : this.#state === "greeting";
    if (frame.kind !== KIND.hello || !due)
      throw new SkeinError("PROTOCOL", `Frame kind ${frame.kind} came before both hellos.`);
    const hello = decodeHello(frame.payload);
    checkCompatible(PROTOCOL, hello);
    this.#state = this.role === "listener" ? "greeting" : "ready";
    this.#events.onHello(hello);
  }

  #own(frame: Frame): void {
    switch (frame.kind) {
      case KIND.ping:
        this.emit(KIND.pong, 0, 0, 0, frame.value);
        return;
      case KIND.pong:
        if (this.#life.answered(frame.value)) this.#events.onTrusted?.();
        return;
      case KIND.load:
        this.#events.onLoad?.(frame.value);
        return;
      case KIND.goaway:
        this.draining = true;
        this.#events.onGoaway?.(textDecoder.decode(frame.payload));
        return;
      case KIND.credit:
        this.#sendWindow += frame.value;
        if (frame.value === 0 || this.#sendWindow > LINK_WINDOW)
          throw new SkeinError("PROTOCOL", "More credit than the link's window.");
        this.#serveBlocked();
        return;
      default:
        throw new SkeinError("PROTOCOL", `Frame kind ${frame.kind} is not for the link.`);
    }
  }

  /** One frame each in turn, until the window or the waiting is over. */
  #serveBlocked(): void {
    while (this.#blocked.size > 0) {
      const round = [...this.#blocked];
      this.#blocked.clear();
      let again = false;
      for (const stream of round)
        if (stream.serveOne()) {
          this.#blocked.add(stream);
          again = true;
        }
      if (!again) return;
    }
  }

  #opened(frame: Frame): void {
    if (frame.stream % 2 === this.#nextId % 2 || frame.stream <= this.#lastPeerId)
      throw new SkeinError("PROTOCOL", `Stream ${frame.stream} can't be opened by the peer (again).`);
    this.#lastPeerId = frame.stream;
    const head = decodeOpen(frame.payload);
    if ((head.epoch & 0xffff) !== frame.epoch) throw new SkeinError("PROTOCOL", "open names two epochs.");
    if (this.#streams.size >= LINK_STREAMS_MAX) {
      this.emit(KIND.busy, 0, frame.epoch, frame.stream, this.localLoad);
      return;
    }
    const stream = new Stream(this, frame.stream, frame.epoch, false, {});
    this.#streams.set(stream.id, stream);
    const ended = (frame.flags & FLAG.end) !== 0;
    if (ended) stream.markEnded();
    const events = this.#events.onStream(stream, head, ended);
    if (!stream.closed) stream.events = events;
  }
}
