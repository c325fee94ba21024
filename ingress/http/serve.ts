/** What happens to a request before it belongs to a deployment: host and origin, system paths, route; then an exchange takes over. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { HTTP_HEADERS_MAX } from "../../protocol/limits.ts";
import { answerLines, notFound, refused, systemAnswer, TOO_MANY_HEADERS, type Answer } from "./answers.ts";
import { targetOf, type HttpContext } from "./context.ts";
import { Exchange } from "./exchange.ts";
import { judge, preflight } from "./guard.ts";
import { readHeaders, type RequestHeaders } from "./headers.ts";
import { answerRaw, SocketExchange } from "./websocket.ts";

const pathOf = (target: string): string => {
  const question = target.indexOf("?");
  return question < 0 ? target : target.slice(0, question);
};

/** `wantsContinue`: the client waits for `100 Continue` before it sends its body. */
export function serveRequest(
  context: HttpContext,
  request: IncomingMessage,
  response: ServerResponse,
  wantsContinue: boolean,
): void {
  context.started();
  const headers = readHeaders(request.rawHeaders, context.freshId);
  const verdict = judge(context.guard, headers.host, headers.origin);
  const own = (answer: Answer, route: string): void =>
    answerOwn(context, request, response, headers, answer, verdict.headers, route);
  if (request.rawHeaders.length / 2 > HTTP_HEADERS_MAX) return own(TOO_MANY_HEADERS, "");
  if (verdict.refusal !== null) return own(refused(verdict.refusal), "");
  if (
    verdict.headers.length > 0 &&
    request.method === "OPTIONS" &&
    request.headers["access-control-request-method"] !== undefined
  ) {
    response
      .writeHead(204, [
        ...verdict.headers,
        ...preflight(request.headers["access-control-request-headers"]),
        "x-request-id",
        headers.requestId,
      ])
      .end();
    return finishOwn(context, request, headers, 204, "");
  }
  const target = targetOf(request.url ?? "/");
  const routes = context.mesh.routes;
  const path = pathOf(routes?.withoutRoot(target) ?? target);
  const system = systemAnswer(context.mesh, path);
  if (system !== null) return own(system, path);
  const match = routes?.match(target);
  const pool = match === undefined ? undefined : context.mesh.pool(match.route.app, match.route.deployment);
  if (match === undefined || pool === undefined) return own(notFound(path), "");
  if (wantsContinue) response.writeContinue();
  new Exchange(context, request, response, headers, match, pool, verdict.headers).start();
}

/** A request for a WebSocket. */
export function serveUpgrade(context: HttpContext, request: IncomingMessage, socket: Duplex, firstBytes: Buffer): void {
  context.started();
  const headers = readHeaders(request.rawHeaders, context.freshId);
  const verdict = judge(context.guard, headers.host, headers.origin);
  const own = (answer: Answer): void => {
    answerRaw(socket, { status: answer.status, lines: answerLines(answer, headers.requestId), body: answer.body });
    finishOwn(context, request, headers, answer.status, "");
  };
  if (verdict.refusal !== null) return own(refused(verdict.refusal));
  const target = targetOf(request.url ?? "/");
  const match = context.mesh.routes?.match(target);
  const pool = match === undefined ? undefined : context.mesh.pool(match.route.app, match.route.deployment);
  if (match === undefined || pool === undefined) return own(notFound(pathOf(target)));
  new SocketExchange(context, request, socket, firstBytes, headers, match, pool).start();
}

function answerOwn(
  context: HttpContext,
  request: IncomingMessage,
  response: ServerResponse,
  headers: RequestHeaders,
  answer: Answer,
  extra: readonly string[],
  route: string,
): void {
  // Without `100 Continue` the client may never send the body: this connection can't be used again.
  if (headers.hasBody && !request.complete) response.shouldKeepAlive = false;
  const lines = [
    "content-type",
    answer.type,
    "content-length",
    String(Buffer.byteLength(answer.body)),
    "x-request-id",
    headers.requestId,
    ...extra,
  ];
  if (context.closing()) lines.push("connection", "close");
  response.writeHead(answer.status, lines).end(answer.body);
  finishOwn(context, request, headers, answer.status, route);
}

function finishOwn(
  context: HttpContext,
  request: IncomingMessage,
  headers: RequestHeaders,
  status: number,
  route: string,
): void {
  context.finished({
    requestId: headers.requestId,
    method: request.method ?? "",
    route,
    app: "",
    deployment: "",
    status,
    ms: 0,
    log: !route.startsWith("/-/"),
    isError: status >= 400,
  });
}
