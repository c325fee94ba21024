/** WebSockets of the mesh port: control links, the relay, logs on their way to a reader. */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import { CONTROL_MESSAGE_MAX, LINK_MESSAGE_MAX } from "../../protocol/limits.ts";
import { bearer, isForeign } from "../api/guard.ts";
import type { LogReaders } from "../api/logs.ts";
import type { Gate, Sessions } from "../sessions.ts";
import { relay } from "./relay.ts";

/** Control links and relayed links together. */
const SOCKETS_MAX = 10_000;
/** Messages waiting to go to a peer that doesn't read, bytes: then it is closed, and gets everything anew when it comes back. */
const UNSENT_MAX = 8 * CONTROL_MESSAGE_MAX;

export interface MeshSockets {
  readonly sessions: Sessions;
  readonly gate: Gate;
  readonly logs: LogReaders;
  /** URL of an ingress's mesh listener as seen from here. */
  readonly ingressUrl: (ingress: string) => string | null;
  readonly listensOn: string;
  readonly advertised: () => readonly string[];
}

type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** One kind of socket: who may open it, and what then happens on it. */
interface Area {
  readonly server: "control" | "links";
  /** The worker that opens it; null: refused. Where the first message carries the credential, anyone may open one, and says so soon. */
  caller(request: IncomingMessage, gate: Gate): string | null;
  open(ws: WebSocket, mesh: MeshSockets, name: string, caller: string): void;
}
const anyone = (): string => "";

/** By the first part of the path; the second is a name. */
export const AREAS: Readonly<Record<string, Area>> = {
  control: { server: "control", caller: anyone, open: (ws, mesh) => onControl(ws, mesh.sessions) },
  relay: { server: "links", caller: anyone, open: (ws, mesh, name) => relay(ws, mesh.ingressUrl(name), mesh.gate) },
  logs: { server: "links", caller: workerOf, open: (ws, mesh, name, worker) => onLog(ws, name, worker, mesh.logs) },
};

export function meshUpgrade(mesh: MeshSockets): Upgrade {
  const control = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: CONTROL_MESSAGE_MAX,
    clientTracking: true,
  });
  const links = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: LINK_MESSAGE_MAX,
    skipUTF8Validation: true,
    clientTracking: true,
  });
  return (request, socket, head) => {
    socket.on("error", () => socket.destroy());
    // Nobody reads it any more: without the second step a client that doesn't close would keep it for ever.
    const refuse = (status: string): void =>
      void socket
        .once("finish", () => socket.destroy())
        .end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
    if (isForeign({ host: request.headers.host, origin: request.headers.origin }, mesh.listensOn, mesh.advertised()))
      return refuse("403 Forbidden");
    if (control.clients.size + links.clients.size >= SOCKETS_MAX) return refuse("503 Service Unavailable");
    if ("setNoDelay" in socket) (socket as { setNoDelay(on: boolean): void }).setNoDelay(true);
    const [path = "/"] = (request.url ?? "/").split("?");
    const [, first = "", name = ""] = path.split("/").map(decode);
    const area = Object.hasOwn(AREAS, first) ? AREAS[first] : undefined;
    if (area === undefined) return refuse("404 Not Found");
    const caller = area.caller(request, mesh.gate);
    if (caller === null) return refuse("401 Unauthorized");
    const server = area.server === "control" ? control : links;
    server.handleUpgrade(request, socket, head, (ws) => area.open(ws, mesh, name, caller));
  };
}

/** A browser can't set headers: its ticket comes as a subprotocol that is never agreed on. */
function workerOf(request: IncomingMessage, gate: Gate): string | null {
  const [, offered] = (request.headers["sec-websocket-protocol"] ?? "").split(",");
  const ticket = gate.ticket(bearer(request.headers.authorization) ?? offered?.trim() ?? "");
  return ticket?.use === "worker" ? ticket.worker : null;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}

function onControl(ws: WebSocket, sessions: Sessions): void {
  const session = sessions.open({
    send: (text) => {
      if (ws.bufferedAmount > UNSENT_MAX) ws.terminate();
      else if (ws.readyState === ws.OPEN) ws.send(text);
    },
    close: (code, reason) => {
      ws.close(code, reason.slice(0, 100));
      // A stopped process answers no close: the connection is over for us now.
      setTimeout(() => ws.terminate(), 1_000).unref();
    },
  });
  ws.on("error", () => ws.terminate());
  ws.on("close", () => sessions.closed(session));
  ws.on("message", (data, binary) => {
    if (binary) ws.close(1003, "text only");
    else sessions.receive(session, String(data));
  });
}

function onLog(ws: WebSocket, reader: string, worker: string, logs: LogReaders): void {
  ws.on("error", () => ws.terminate());
  const sink = logs.arrive(reader, worker, {
    pause: () => ws.pause(),
    resume: () => ws.resume(),
    close: () => ws.close(1000),
  });
  if (sink === null) return ws.close(1008, "nobody waits for this log");
  ws.on("message", (data) => sink.data(Array.isArray(data) ? Buffer.concat(data) : new Uint8Array(data)));
  ws.on("close", () => sink.end());
}
