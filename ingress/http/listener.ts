/**
 * The client listener: node:http (or https) with its limits set, what is malformed answered, and an orderly end.
 * Knows sockets; what to do with a request is in serve.ts.
 */
import { readFileSync } from "node:fs";
import type { RequestListener, Server, ServerOptions } from "node:http";
import type { Server as NetServer } from "node:net";
import type { Duplex } from "node:stream";
import type { HttpOptions } from "../../protocol/config.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { CLIENT_SOCKETS_MAX, HTTP_HEAD_MAX, HTTP_HEAD_TIMEOUT_MS, HTTP_HEADERS_MAX } from "../../protocol/limits.ts";
import { MALFORMED } from "./answers.ts";
import type { HttpContext } from "./context.ts";
import { isLoopback } from "./guard.ts";
import { nodeHttp, nodeHttps } from "./node-http.ts";
import { serveRequest, serveUpgrade } from "./serve.ts";
import { answerRaw } from "./websocket.ts";

/** How often node:http looks for clients that are slow with their head, ms. */
const CHECK_MS = 2_000;

export interface ClientListener {
  readonly host: string;
  readonly port: number;
  /** Stops accepting, lets what runs finish within `drainMs`, then cuts the rest off. */
  close(drainMs: number): Promise<void>;
}

export type ListenerContext = Omit<HttpContext, "guard" | "requestTimeoutS" | "closing">;

/** Binds. Rejects with one sentence that says which port and what to do. */
export async function listenHttp(options: HttpOptions, outer: ListenerContext): Promise<ClientListener> {
  let closing = false;
  const secure = options.ssl_certfile != null && options.ssl_keyfile != null;
  const context: HttpContext = {
    ...outer,
    guard: { loopback: isLoopback(options.host), scheme: secure ? "https" : "http", corsOrigins: options.cors_origins },
    requestTimeoutS: options.request_timeout_s ?? null,
    closing: () => closing,
  };
  const onRequest: RequestListener = (request, response) => serveRequest(context, request, response, false);
  const limits: ServerOptions = {
    maxHeaderSize: HTTP_HEAD_MAX,
    headersTimeout: HTTP_HEAD_TIMEOUT_MS,
    // An upload may take as long as it takes; what it waits for has a deadline of its own.
    requestTimeout: 0,
    connectionsCheckingInterval: CHECK_MS,
    keepAliveTimeout: options.keep_alive_timeout_s * 1000,
    noDelay: true,
    shouldUpgradeCallback: (request) =>
      request.method === "GET" && request.headers.upgrade?.toLowerCase() === "websocket",
  };
  const server: Server = secure
    ? nodeHttps().createServer({ ...limits, ...tlsFiles(options) }, onRequest)
    : nodeHttp.createServer(limits, onRequest);
  // One more than allowed, so that a request with too many is refused instead of losing some silently.
  server.maxHeadersCount = HTTP_HEADERS_MAX + 1;
  server.maxConnections = CLIENT_SOCKETS_MAX;
  const upgraded = new Set<Duplex>();
  server.on("checkContinue", (request, response) => serveRequest(context, request, response, true));
  server.on("clientError", onClientError);
  server.on("upgrade", (request, socket, firstBytes) => {
    socket.on("error", () => {});
    upgraded.add(socket);
    socket.on("close", () => upgraded.delete(socket));
    serveUpgrade(context, request, socket, firstBytes);
  });
  // No proxy for anything else; without a listener the client would see a closed connection and no word.
  server.on("connect", (_request: unknown, socket: Duplex) => {
    socket.on("error", () => {});
    answerRaw(socket, { status: 400, lines: TEXT, body: MALFORMED });
  });
  const port = await bind(server, options.host, options.port);
  return {
    host: options.host,
    port,
    close: async (drainMs) => {
      closing = true;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const cut = outer.after(drainMs, () => {
        server.closeAllConnections();
        for (const socket of upgraded) socket.destroy();
      });
      await closed;
      cut();
      for (const socket of upgraded) socket.destroy();
    },
  };
}

/** Listens. Resolves with the port; rejects with one clear sentence, which names the option to change. */
export function bind(server: NetServer, host: string, port: number, option = "http_options.port"): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) =>
      reject(new SkeinError("UNAVAILABLE", bindFailure(cause, host, port, option), { cause })),
    );
    server.listen({ host: host.replace(/^\[|\]$/g, ""), port, backlog: 1024 }, () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}

function bindFailure(cause: NodeJS.ErrnoException, host: string, port: number, option: string): string {
  switch (cause.code) {
    case "EADDRINUSE":
      return `Port ${port} on ${host} is in use by another program: stop it, or choose another port in ${option}.`;
    case "EACCES":
      return `Port ${port} on ${host} needs rights that this process doesn't have: choose a port above 1023.`;
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return `This machine has no address ${host}: correct http_options.host.`;
    default:
      return `Can't listen on ${host}:${port}: ${cause.message}.`;
  }
}

export function tlsFiles(options: HttpOptions): { key: Buffer; cert: Buffer; ca?: Buffer; passphrase?: string } {
  const read = (name: string, file: string): Buffer => {
    try {
      return readFileSync(file);
    } catch (cause) {
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `${name}: can't read ${file}. It must be a PEM file that the ingress may read.`,
        { cause },
      );
    }
  };
  return {
    key: read("ssl_keyfile", options.ssl_keyfile!),
    cert: read("ssl_certfile", options.ssl_certfile!),
    ...(options.ssl_ca_certs == null ? {} : { ca: read("ssl_ca_certs", options.ssl_ca_certs) }),
    ...(options.ssl_keyfile_password == null ? {} : { passphrase: options.ssl_keyfile_password }),
  };
}

const TEXT = ["content-type", "text/plain; charset=utf-8"];

function onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy();
  if (error.code === "HPE_HEADER_OVERFLOW")
    answerRaw(socket, { status: 431, lines: TEXT, body: `The request head is larger than ${HTTP_HEAD_MAX} bytes.` });
  else if (error.code === "ERR_HTTP_REQUEST_TIMEOUT")
    answerRaw(socket, { status: 408, lines: TEXT, body: "The request head did not come in time." });
  else answerRaw(socket, { status: 400, lines: TEXT, body: MALFORMED });
}
