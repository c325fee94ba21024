/**
 * The gRPC listener: node:http2 with its limits set. It has the host (and certificate) of the HTTP listener and a port of its own.
 * Loaded only where services are configured.
 */
import {
  createSecureServer,
  createServer,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
  type ServerOptions,
} from "node:http2";
import type { GrpcOptions, HttpOptions } from "../../protocol/config.ts";
import { GRPC_STATUS, splitGrpcPath } from "../../protocol/grpc.ts";
import {
  CLIENT_SOCKETS_MAX,
  HTTP_HEAD_MAX,
  HTTP_HEADERS_MAX,
  LINK_WINDOW,
  STREAM_WINDOW,
} from "../../protocol/limits.ts";
import { withoutKey } from "../api-keys.ts";
import { bind, tlsFiles, type ClientListener } from "../http/listener.ts";
import { BUILT_IN_METHODS, type BuiltInContext } from "./built-in.ts";
import { Catalogue } from "./catalogue.ts";
import type { GrpcContext } from "./context.ts";
import { GrpcExchange } from "./exchange.ts";
import { runLocally } from "./local-call.ts";
import { readCallHead, type CallHead } from "./metadata.ts";
import { Wire } from "./wire.ts";

/** Calls at one time on a connection. */
const STREAMS_MAX = 1_000;
const HTTP_UNSUPPORTED_MEDIA_TYPE = 415;
/** One answer for whatever is wrong with a key, as by HTTP. */
const NEEDS_KEY = "This application needs a valid API key, as metadata `authorization: Bearer <key>`.";

export type GrpcListenerContext = Omit<GrpcContext, "requestTimeoutS" | "configured">;

/** Services that entries `<file>.proto:<package.Service>` name. */
const namedBy = (entries: readonly string[]): string[] =>
  entries.flatMap((entry) => /\.proto:(.+)$/.exec(entry)?.[1] ?? []);

/** Binds. Rejects with one sentence that says which port and what to do. */
export async function listenGrpc(
  grpc: GrpcOptions,
  http: HttpOptions,
  outer: GrpcListenerContext,
): Promise<ClientListener> {
  const context: GrpcContext = {
    ...outer,
    requestTimeoutS: grpc.request_timeout_s ?? null,
    configured: namedBy(grpc.grpc_servicer_functions),
  };
  const serve = dispatcher(context);
  const limits: ServerOptions = {
    maxHeaderListPairs: HTTP_HEADERS_MAX,
    settings: {
      maxConcurrentStreams: STREAMS_MAX,
      maxHeaderListSize: HTTP_HEAD_MAX,
      initialWindowSize: STREAM_WINDOW,
      enablePush: false,
    },
  };
  const secure = http.ssl_certfile != null && http.ssl_keyfile != null;
  const server = secure
    ? createSecureServer({ ...limits, ...tlsFiles(http), allowHTTP1: false })
    : createServer(limits);
  server.maxConnections = CLIENT_SOCKETS_MAX;
  const sessions = new Set<Http2Session>();
  let closing = false;
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
    // Of all calls of a connection together; each has its own window beside.
    session.setLocalWindowSize(LINK_WINDOW);
    if (closing) session.close();
  });
  // What breaks HTTP/2 ends its own connection.
  server.on("sessionError", (_error, session) => session.destroy());
  server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, rawHeaders: string[]) =>
    serve(stream, headers, rawHeaders),
  );
  const port = await bind(server, http.host, grpc.port, "grpc_options.port");
  return {
    host: http.host,
    port,
    close: async (drainMs) => {
      closing = true;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of sessions) session.close();
      const cut = outer.after(drainMs, () => sessions.forEach((session) => session.destroy()));
      await closed;
      cut();
    },
  };
}

function dispatcher(
  context: GrpcContext,
): (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]) => void {
  const { mesh } = context;
  let table = mesh.table;
  let catalogue = new Catalogue(table, context.configured, context.log);
  const around: BuiltInContext = {
    mesh,
    catalogue: () => {
      if (mesh.table !== table) {
        table = mesh.table;
        catalogue = new Catalogue(table, context.configured, context.log);
      }
      return catalogue;
    },
  };
  return (stream, headers, rawHeaders) => {
    stream.on("error", () => {});
    if (headers[":method"] !== "POST" || headers["content-type"]?.startsWith("application/grpc") !== true) {
      stream.respond({ ":status": HTTP_UNSUPPORTED_MEDIA_TYPE }, { endStream: true });
      stream.resume();
      return;
    }
    context.started();
    const head = readCallHead(headers[":path"] ?? "", rawHeaders, context.freshId);
    const wire = new Wire(stream);
    const hidden = head.path.startsWith("/grpc.reflection.") && mesh.table?.grpc.enable_reflection === false;
    const local = BUILT_IN_METHODS.get(head.path);
    if (local !== undefined && !hidden) return runLocally(context, wire, head, local, around);
    const name = splitGrpcPath(head.path);
    const choice = around.catalogue().choose(name?.service ?? "", name?.method ?? "", head.app);
    if (choice.app === null) return refuse(context, wire, head, choice.code, choice.details);
    const { app } = choice;
    const pool = mesh.pool(app.name, app.deployment);
    if (pool === undefined)
      return refuse(context, wire, head, "UNAVAILABLE", `Application '${app.name}' is not ready.`);
    const { keys } = app;
    if (keys !== null && !keys.admits(headers, context.meshTime()))
      return refuse(context, wire, head, "UNAUTHENTICATED", NEEDS_KEY);
    new GrpcExchange(context, wire, keys === null ? head : { ...head, metadata: withoutKey(head.metadata) }, {
      app: app.name,
      deployment: app.deployment,
      accessLog: app.accessLog,
      pool,
    }).start();
  };
}

/** Paths that no application serves are not told apart in metrics: clients make them up. */
function refuse(
  context: GrpcContext,
  wire: Wire,
  head: CallHead,
  code: "NOT_FOUND" | "UNIMPLEMENTED" | "UNAVAILABLE" | "UNAUTHENTICATED",
  details: string,
): void {
  wire.finish(GRPC_STATUS[code], details, ["request_id", head.requestId]);
  context.finished({
    requestId: head.requestId,
    method: "OTHER",
    route: "",
    app: "",
    deployment: "",
    status: `StatusCode.${code}`,
    ms: 0,
    log: true,
    isError: true,
  });
}
