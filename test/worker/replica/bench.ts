/**
 * A replica on a virtual clock with fake ingresses: real links on both ends, joined in memory. Messages and turns are real event-loop turns,
 * `advance` moves time. What takes real time (an import, a hash in another thread) has to be over before time moves.
 */
import type { Manifest } from "../../../protocol/artefact.ts";
import {
  pack,
  unpack,
  type EndHead,
  type FailHead,
  type OpenCall,
  type OpenHead,
  type OpenHttp,
  type ResponseHead,
} from "../../../protocol/heads.ts";
import { Link } from "../../../protocol/link.ts";
import type { FromReplica, ReplicaOptions } from "../../../protocol/local.ts";
import type { Stream, StreamEvents } from "../../../protocol/stream.ts";
import { graphEntry, graphOf } from "../../../serve/graph.ts";
import type { Application } from "../../../serve/index.ts";
import type { ConnectionEvents, ReplicaPlatform } from "../../../worker/replica/platform.ts";
import { Replica } from "../../../worker/replica/replica.ts";
import { replicaSpec } from "../agent/specs.ts";

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
export async function turns(n = 8): Promise<void> {
  for (let i = 0; i < n; i++) await turn();
}

export class VirtualTime {
  now = 1_000_000;
  #timers: { at: number; callback: () => void }[] = [];

  after = (ms: number, callback: () => void): (() => void) => {
    const timer = { at: this.now + ms, callback };
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((t) => t !== timer));
  };

  /** Fires timers in order, with some turns after each for what they set off. */
  async advance(ms: number): Promise<void> {
    const until = this.now + ms;
    await turns();
    for (;;) {
      const next = this.#timers.filter((t) => t.at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((t) => t !== next);
      this.now = Math.max(this.now, next.at);
      next.callback();
      await turns(4);
    }
    this.now = until;
    await turns();
  }
}

export interface Reply {
  accepted?: boolean;
  busy?: boolean;
  head?: ResponseHead;
  readonly chunks: { readonly payload: Uint8Array; readonly type: string; readonly more: boolean }[];
  end?: EndHead;
  fail?: FailHead;
  cancelled?: string;
}
export interface Sent {
  readonly stream: Stream;
  readonly reply: Reply;
  /** Resolves when the stream is over. */
  readonly done: Promise<Reply>;
  text(): string;
  values(): unknown[];
}

/** One ingress: listens to one dialled connection at a time and keeps what it learns. */
export class FakeIngress {
  readonly time: VirtualTime;
  link: Link | undefined;
  tickets: (string | undefined)[] = [];
  goaways: string[] = [];
  loads: number[] = [];
  closes: string[] = [];
  /** Messages from the replica. */
  messages = 0;
  /** Held back: chunks aren't acknowledged. */
  paused = false;
  onStream: (stream: Stream, head: OpenHead, ended: boolean) => StreamEvents = () => {
    throw new Error("no call was expected");
  };
  #drop: (() => void) | undefined;

  constructor(time: VirtualTime) {
    this.time = time;
  }

  accept(events: ConnectionEvents): { send(message: Uint8Array): void; close(code: number, reason: string): void } {
    let open = true;
    const lost = (code: number, reason: string): void => {
      if (!open) return;
      open = false;
      link.closed(code, reason);
      setImmediate(() => events.onClose(code, reason));
    };
    const link: Link = new Link(
      "listener",
      {
        send: (message) => {
          const copy = message.slice();
          setImmediate(() => void (open && events.onMessage(copy)));
        },
        close: lost,
        afterTurn: (callback) => void setImmediate(callback),
      },
      {
        onHello: (hello) => {
          this.tickets.push(hello.ticket);
          link.welcome({ build: "test", features: [], ingress: "i" });
        },
        onStream: (stream, head, ended) => this.onStream(stream, head, ended),
        onLoad: (load) => this.loads.push(load),
        onGoaway: (reason) => this.goaways.push(reason),
        onClose: (_code, reason) => this.closes.push(reason),
      },
      this.time.now,
    );
    this.link = link;
    this.#drop = () => lost(1006, "dropped");
    setImmediate(() => events.onOpen());
    return {
      send: (message) => {
        this.messages++;
        const copy = message.slice();
        setImmediate(() => void (open && link.receive(copy, this.time.now)));
      },
      close: lost,
    };
  }

  drop(): void {
    this.#drop?.();
  }

  open(head: OpenHead, ended: boolean): Sent {
    const reply: Reply = { chunks: [] };
    const { promise, resolve } = Promise.withResolvers<Reply>();
    const over = (change: Partial<Reply>): void => resolve(Object.assign(reply, change));
    const stream = this.link!.open(
      head,
      {
        onAccept: () => void (reply.accepted = true),
        onBusy: () => over({ busy: true }),
        onHead: (h) => void (reply.head = h),
        onChunk: (payload, type, more, charge) => {
          reply.chunks.push({ payload, type, more });
          if (!this.paused) stream.consumed(charge);
        },
        onEnd: (end) => over({ end }),
        onFail: (fail) => over({ fail }),
        onCancel: (reason) => over({ cancelled: reason }),
      },
      ended,
    );
    const bytes = (): Buffer => Buffer.concat(reply.chunks.map((c) => c.payload));
    return {
      stream,
      reply,
      done: promise,
      text: () => bytes().toString(),
      values: () => reply.chunks.map((c) => unpack(c.payload)),
    };
  }

  http(change: Partial<OpenHttp> = {}, body?: string | Uint8Array): Sent {
    const head: OpenHttp = {
      kind: "http",
      app: "app",
      deployment: "D",
      requestId: "r-1",
      deadlineMs: null,
      epoch: 0,
      hops: 1,
      model: "",
      method: body === undefined ? "GET" : "POST",
      path: "/",
      mount: "",
      scheme: "http",
      headers: ["host", "h"],
      remote: "",
      upgrade: false,
      ...change,
    };
    const sent = this.open(head, body === undefined && !head.upgrade);
    if (body !== undefined) {
      sent.stream.write("bytes", Buffer.from(body));
      sent.stream.end();
    }
    return sent;
  }

  call(method: string, args: readonly unknown[], change: Partial<OpenCall> = {}): Sent {
    const sent = this.open(
      {
        kind: "call",
        app: "app",
        deployment: "D",
        requestId: "r-1",
        deadlineMs: null,
        epoch: 0,
        hops: 1,
        model: "",
        method,
        stream: false,
        ...change,
      },
      false,
    );
    sent.stream.write("value", pack(args));
    sent.stream.end();
    return sent;
  }
}

export interface Bench {
  readonly time: VirtualTime;
  readonly ingress: FakeIngress;
  readonly replica: Replica;
  readonly told: FromReplica[];
  readonly logs: string[];
  readonly dialled: string[];
  /** Ingresses by URL; "ws://one" is `ingress`. A URL that isn't here refuses. */
  readonly listeners: Map<string, FakeIngress>;
  ready: boolean;
}

export interface BenchOptions {
  readonly spec?: Partial<ReplicaOptions["spec"]>;
  readonly urls?: readonly string[];
  readonly change?: (manifest: Manifest) => Manifest;
  readonly start?: boolean;
}

/** A started replica of the application's ingress deployment, which must be called D (or `spec.deployment`). */
export async function bench(
  application: Application<never>,
  { spec, urls = ["ws://one"], change, start = true }: BenchOptions = {},
): Promise<Bench> {
  const time = new VirtualTime();
  const graph = await graphOf(application as Application);
  const manifest: Manifest = {
    schema: 1,
    importPath: "test:app",
    args: {},
    export: "app",
    bundles: { node: "0".repeat(64), browser: null },
    assets: {},
    graph: {
      hash: graph.hash,
      ingress: graph.ingress,
      deployments: graph.nodes.map((node) => graphEntry(node, false)),
    },
  };
  const ingress = new FakeIngress(time);
  const listeners = new Map([["ws://one", ingress]]);
  const told: FromReplica[] = [];
  const evaluated = Promise.withResolvers<void>();
  const logs: string[] = [];
  const dialled: string[] = [];
  const platform: ReplicaPlatform = {
    now: () => time.now,
    random: () => 0.5,
    after: time.after,
    afterTurn: (callback) => void setImmediate(callback),
    connect: (url, events) => {
      dialled.push(url);
      const listener = listeners.get(url);
      if (listener !== undefined) return listener.accept(events);
      setImmediate(() => events.onClose(1006, "refused"));
      return { send: () => {}, close: () => {} };
    },
    importBundle: async () => ({ app: application }),
    log: (level, text) => void logs.push(`${level}: ${text}`),
  };
  const options: ReplicaOptions = {
    spec: replicaSpec("app#D#abcdefgh", { artefact: "", ticket: "ticket-1", loggingConfig: null, ...spec }),
    manifest: change?.(manifest) ?? manifest,
    bundle: "memory",
    ingresses: [{ ingress: "i", host: "host-1", urls: [...urls] }],
    worker: { id: "w", host: "host-1", kind: "node" },
    device: "auto",
    allowSoftwareGpu: false,
    logLevel: "info",
  };
  const tell = (message: FromReplica): void => {
    told.push(message);
    if (message.type === "status" && (message.progress === "initialising" || message.state === "failed"))
      evaluated.resolve();
  };
  const replica = new Replica({ platform, options, build: "test", tell });
  const made: Bench = { time, ingress, replica, told, logs, dialled, listeners, ready: false };
  if (start) {
    let started = false;
    const starting = replica.start().finally(() => (started = true));
    // The graph's hash takes real time: a clock that went on meanwhile would make its links silent.
    await evaluated.promise;
    // Until it is linked, or has waited for that long enough.
    if (!listeners.has(urls[0]!)) while (!started) await time.advance(100);
    made.ready = await starting;
    await turns();
  }
  return made;
}

export const statuses = (told: readonly FromReplica[]): string[] =>
  told.flatMap((m) => (m.type === "status" ? [m.progress ?? m.state] : []));
export const lastStatus = (told: readonly FromReplica[]): Extract<FromReplica, { type: "status" }> =>
  told.findLast((m) => m.type === "status")!;
