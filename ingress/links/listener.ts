/**
 * The mesh listener: replicas' WebSockets at `/link`, and `/metrics` for this machine only.
 * Compression is off, messages are bounded, text is never validated: frames are binary.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import { DIAL_TIMEOUT_MS, HTTP_HEAD_MAX, HELLO_TIMEOUT_MS, LINK_MESSAGE_MAX } from "../../protocol/limits.ts";
import type { Certificate } from "../../protocol/node/certificate.ts";
import { writeMessage } from "../../protocol/node/link-socket.ts";
import { isLoopback } from "../http/guard.ts";
import { bind } from "../http/listener.ts";
import { nodeHttp, nodeHttps } from "../http/node-http.ts";
import type { Sessions } from "./session.ts";

/** Connections of replicas at one ingress. */
const LINKS_MAX = 8_192;

/** A replica's hello carries its ticket; the numbers are for this machine only. */
export const MESH_PATHS = { link: "/link", metrics: "/metrics" } as const;

/** For the answer to an orderly close, ms. */
const CLOSE_ANSWER_MS = 500;

export interface MeshListener {
  readonly host: string;
  readonly port: number;
  close(): Promise<void>;
}

export interface MeshListenerContext {
  readonly sessions: Sessions;
  now(): number;
  /** Prometheus text. */
  metrics(): Promise<string>;
}

/** `certificate` null: plain. */
export async function listenMesh(
  host: string,
  port: number,
  context: MeshListenerContext,
  certificate: Certificate | null,
): Promise<MeshListener> {
  const limits = { maxHeaderSize: HTTP_HEAD_MAX, headersTimeout: HELLO_TIMEOUT_MS, noDelay: true };
  const onRequest = (request: IncomingMessage, response: ServerResponse): void =>
    void serveOwn(context, request, response);
  const http =
    certificate === null
      ? nodeHttp.createServer(limits, onRequest)
      : nodeHttps().createServer(
          { ...limits, cert: certificate.cert, key: certificate.key, handshakeTimeout: DIAL_TIMEOUT_MS },
          onRequest,
        );
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: LINK_MESSAGE_MAX,
    skipUTF8Validation: true,
    clientTracking: false,
  });
  http.maxConnections = LINKS_MAX;
  http.on("clientError", (_error, socket) => socket.destroy());
  http.on("upgrade", (request, socket: Duplex, firstBytes) => {
    // First of all: an error before anyone listens would end the process.
    socket.on("error", () => {});
    if (pathOf(request) !== MESH_PATHS.link)
      // As in the coordinator's upgrade.ts: a client that doesn't close would keep the socket for ever.
      return void socket
        .once("finish", () => socket.destroy())
        .end("HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    sockets.handleUpgrade(request, socket, firstBytes, (connection) => join(context, connection, socket));
  });
  const bound = await bind(http, host, port);
  return {
    host,
    port: bound,
    close: () =>
      new Promise((resolve) => {
        context.sessions.closeAll("The ingress stops.");
        http.close(() => resolve());
        http.closeAllConnections();
      }),
  };
}

const pathOf = (request: IncomingMessage): string => (request.url ?? "").split("?", 1)[0]!;

function join(context: MeshListenerContext, connection: WebSocket, socket: Duplex): void {
  const session = context.sessions.open({
    send: (message) => writeMessage(socket, message, false),
    close: (code, reason) => {
      connection.close(code, reason);
      // A peer that is silent or hostile doesn't answer the close; one that is stuck doesn't either.
      if (code !== 1000 && code !== 1001) connection.terminate();
      else setTimeout(() => connection.terminate(), CLOSE_ANSWER_MS).unref();
    },
    afterTurn: (callback) => void setImmediate(callback),
  });
  connection.on("error", () => {});
  connection.on("message", (data) => session.link.receive(data as Buffer, context.now()));
  connection.on("close", (code, reason) =>
    session.link.closed(code, reason.toString() || "The connection broke.", context.now()),
  );
}

async function serveOwn(
  context: MeshListenerContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const from = request.socket.remoteAddress ?? "";
  // A foreign name that points to this machine is a page's way to read what is for this machine only.
  const local = (from === "::1" || /^(::ffff:)?127\./.test(from)) && isLoopback(request.headers.host ?? "");
  if (pathOf(request) !== MESH_PATHS.metrics || request.method !== "GET" || !local)
    return void response.writeHead(404).end();
  const text = await context.metrics();
  response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(text);
}
