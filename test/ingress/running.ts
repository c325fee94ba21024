/**
 * A real ingress in this process, on ephemeral ports of 127.0.0.1, with a coordinator played by the test (no socket: the control link is injected)
 * and replicas that are real links over real WebSockets.
 */
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { WebSocket } from "ws";
import type { OpenHead } from "../../protocol/heads.ts";
import { Link } from "../../protocol/link.ts";
import type { Stream, StreamEvents } from "../../protocol/stream.ts";
import { generateKeys, signTicket, type ReplicaTicket } from "../../protocol/ticket.ts";
import type { IngressReport, IngressStats } from "../../protocol/control.ts";
import { grpcOptionsSchema, httpOptionsSchema } from "../../protocol/config.ts";
import type { ControlEvents } from "../../ingress/control.ts";
import { Ingress } from "../../ingress/ingress.ts";
import { routed, table, type TableOptions } from "./harness.ts";

export type Handler = (stream: Stream, head: OpenHead, ended: boolean) => StreamEvents;

export interface RunningReplica {
  readonly link: Link;
  readonly socket: WebSocket;
  readonly closed: Promise<{ code: number; reason: string }>;
  /** Messages that came from the ingress. */
  messages: number;
}

export interface Running {
  readonly ingress: Ingress;
  readonly dataDir: string;
  readonly reports: IngressReport[];
  readonly stats: IngressStats[];
  readonly port: number;
  readonly meshUrl: string;
  /** Sends a table; replicas named in it must be linked by `replica`. */
  route(options?: TableOptions): void;
  replica(
    name: string,
    handler: Handler,
    claims?: Partial<ReplicaTicket>,
    options?: { maxPayload?: number },
  ): Promise<RunningReplica>;
  /** A link whose ticket is as given; resolves when it is ready or closed. */
  dial(ticket: string, handler?: Handler): Promise<RunningReplica>;
  sign(claims: Partial<ReplicaTicket>): Promise<string>;
  /** Ticket of a script. */
  signCaller(): Promise<string>;
  stop(): Promise<void>;
}

export interface RunOptions {
  readonly http?: Record<string, unknown> | null;
  readonly grpc?: Record<string, unknown>;
  readonly dataDir?: string;
  readonly reachable?: boolean;
  /** Instead of real timers. */
  readonly after?: (ms: number, callback: () => void) => () => void;
  readonly log?: (message: string) => void;
  readonly keys?: Awaited<ReturnType<typeof generateKeys>>;
}

export function realAfter(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
}

export async function run(options: RunOptions = {}): Promise<Running> {
  const keys = options.keys ?? (await generateKeys("k1"));
  const dataDir = options.dataDir ?? (await mkdtemp(path.join(tmpdir(), "skein-ingress-")));
  const reports: IngressReport[] = [];
  const stats: IngressStats[] = [];
  let control: ControlEvents | null = null;
  const http = options.http === null ? null : httpOptionsSchema.parse({ port: 0, ...options.http });
  const ingress = new Ingress(
    {
      dataDir,
      host: "h",
      coordinatorUrls: ["http://coordinator"],
      mesh: { host: "127.0.0.1", port: 0, names: [], advertise: [], secure: false },
      spec: {
        ingress: "i1",
        ticket: "t",
        http,
        grpc: options.grpc === undefined ? null : grpcOptionsSchema.parse({ port: 0, ...options.grpc }),
      },
      logLevel: "info",
    },
    {
      now: () => performance.now(),
      wallTime: () => Date.now(),
      random: () => Math.random(),
      build: "test",
      pid: process.pid,
      incarnation: 1,
      freshId: () => crypto.randomUUID(),
      after: options.after ?? realAfter,
      addresses: () => [],
      connect: (_url, events) => {
        if (options.reachable === false) {
          setImmediate(() => events.onClose("refused"));
          return { send: () => {}, close: () => {} };
        }
        control = events;
        setImmediate(() => events.onOpen());
        return {
          send: (message) => {
            const parsed = JSON.parse(message) as { type: string };
            if (parsed.type === "join")
              events.onMessage(
                JSON.stringify({ type: "welcome", ticket: "t2", term: 1, timeMs: Date.now(), keys: [keys.publicKey] }),
              );
            if (parsed.type === "stats") stats.push(parsed as IngressStats);
          },
          close: () => {},
        };
      },
      onReport: (report) => reports.push(report),
      log: options.log ?? (() => {}),
    },
  );
  const report = await ingress.start();
  reports.push(report);
  const ticker = setInterval(() => ingress.tick(), 100);
  await new Promise((resolve) => setTimeout(resolve, 5));
  let revision = 1;
  const sign = (claims: Partial<ReplicaTicket>): Promise<string> =>
    signTicket(
      {
        use: "replica",
        kid: "k1",
        notAfter: Date.now() + 60_000,
        replica: "app#D#a",
        incarnation: 1,
        app: "app",
        deployment: "D",
        worker: "w",
        host: "h",
        callees: [],
        ...claims,
      },
      keys.privateKey,
    );
  const dial = async (ticket: string, handler: Handler = () => ({})): Promise<RunningReplica> => {
    const socket = new WebSocket(report.urls[0]!, { perMessageDeflate: false });
    const closed = Promise.withResolvers<{ code: number; reason: string }>();
    const ready = Promise.withResolvers<void>();
    const link = new Link(
      "dialler",
      {
        send: (m) => socket.send(m),
        close: (code, reason) => socket.close(code, reason),
        afterTurn: (c) => void setImmediate(c),
      },
      {
        onHello: () => ready.resolve(),
        onStream: handler,
        onClose: (code, reason) => {
          closed.resolve({ code, reason });
          ready.resolve();
        },
      },
      0,
    );
    const replica: RunningReplica = { link, socket, closed: closed.promise, messages: 0 };
    socket.on("open", () => link.greet({ build: "test", features: [], ticket }));
    socket.on("message", (data) => {
      replica.messages += 1;
      link.receive(data as Buffer, performance.now());
    });
    socket.on("error", () => {});
    socket.on("close", (code, reason) => link.closed(code, reason.toString()));
    await ready.promise;
    return replica;
  };
  return {
    ingress,
    dataDir,
    reports,
    stats,
    dial,
    sign,
    signCaller: () => signTicket({ use: "caller", kid: "k1", notAfter: Date.now() + 60_000 }, keys.privateKey),
    port: report.http?.port ?? 0,
    meshUrl: report.urls[0]!,
    route: (o = {}) =>
      control!.onMessage(
        JSON.stringify({ type: "routes", table: table({ revision: revision++, keys: [keys.publicKey], ...o }) }),
      ),
    replica: async (name, handler, claims = {}) => dial(await sign({ replica: name, ...claims }), handler),
    stop: async () => {
      clearInterval(ticker);
      await ingress.stop(0);
      if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Routes to one replica that `handler` plays. */
export async function runOne(handler: Handler, options: RunOptions & { deployment?: object } = {}): Promise<Running> {
  const running = await run(options);
  running.route({ deployments: [{ replicas: [routed("app#D#a")], ...options.deployment }] });
  await running.replica("app#D#a", handler);
  return running;
}

/** Sends bytes over one connection and gathers what comes back until the server closes or `until` is in it. `heard` gets all so far, piece by piece. */
export function raw(
  port: number,
  request: string,
  until?: string | RegExp,
  heard: (text: string) => void = () => {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = net.connect(port, "127.0.0.1", () => socket.write(request, "latin1"));
    socket.setEncoding("latin1");
    socket.on("data", (data: string) => {
      text += data;
      heard(text);
      if (until !== undefined && (typeof until === "string" ? text.includes(until) : until.test(text)))
        socket.destroy();
    });
    socket.on("close", () => resolve(text));
    socket.on("error", reject);
  });
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();
export const bytes = (text: string): Uint8Array => encoder.encode(text);

/** A handler that answers each HTTP request whole, from its head and body. */
export const answering =
  (
    answer: (
      head: Extract<OpenHead, { kind: "http" }>,
      body: string,
    ) => { status?: number; headers?: string[]; body: string | Uint8Array },
  ): Handler =>
  (stream, head, ended) => {
    if (head.kind !== "http") throw new Error("http only");
    let body = "";
    const done = (): void => {
      const result = answer(head, body);
      stream.head({
        status: result.status ?? 200,
        headers: result.headers ?? ["content-type", "text/plain; charset=utf-8"],
      });
      const payload = typeof result.body === "string" ? bytes(result.body) : result.body;
      if (payload.byteLength > 0) stream.write("bytes", payload);
      stream.end();
    };
    stream.accept();
    if (ended) done();
    return {
      onChunk: (payload, _type, _more, charge) => {
        body += decoder.decode(payload);
        stream.consumed(charge);
      },
      onEnd: done,
    };
  };
