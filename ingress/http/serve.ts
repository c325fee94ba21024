/** What happens to a request before it belongs to a deployment: host and origin, system paths, route, API key; then an exchange takes over. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { HTTP_HEADERS_MAX } from "../../protocol/limits.ts";
import { withoutKey, type Keyring } from "../api-keys.ts";
import { answerLines, NEEDS_KEY, notFound, refused, systemAnswer, TOO_MANY_HEADERS, type Answer } from "./answers.ts";
import { targetOf, type HttpContext } from "./context.ts";
import { inFormat } from "./error-format.ts";
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
  const admitted = match.route.keys === null ? headers : withKey(context, request, headers, match.route.keys);
  if (admitted === null)
    return own(inFormat(pool.errorFormat, NEEDS_KEY, "UNAUTHENTICATED", headers.requestId), match.route.name);
  if (wantsContinue) response.writeContinue();
  new Exchange(context, request, response, admitted, match, pool, verdict.headers).start();
}

/** A request for a WebSocket. */
export function serveUpgrade(context: HttpContext, request: IncomingMessage, socket: Duplex, firstBytes: Buffer): void {
  context.started();
  const headers = readHeaders(request.rawHeaders, context.freshId);
  const verdict = judge(context.guard, headers.host, headers.origin);
  const own = (answer: Answer, route = ""): void => {
    answerRaw(socket, { status: answer.status, lines: answerLines(answer, headers.requestId), body: answer.body });
    finishOwn(context, request, headers, answer.status, route);
  };
  if (verdict.refusal !== null) return own(refused(verdict.refusal));
  const target = targetOf(request.url ?? "/");
  const match = context.mesh.routes?.match(target);
  const pool = match === undefined ? undefined : context.mesh.pool(match.route.app, match.route.deployment);
  if (match === undefined || pool === undefined) return own(notFound(pathOf(target)));
  const admitted = match.route.keys === null ? headers : withKey(context, request, headers, match.route.keys);
  if (admitted === null) return own(NEEDS_KEY, match.route.name);
  new SocketExchange(context, request, socket, firstBytes, admitted, match, pool).start();
}

/** Null: the caller is not let in. What goes on to the replica lacks the key. */
const withKey = (
  context: HttpContext,
  request: IncomingMessage,
  headers: RequestHeaders,
  keys: Keyring,
): RequestHeaders | null =>
  keys.admits(request.headers, context.meshTime()) ? { ...headers, forwarded: withoutKey(headers.forwarded) } : null;

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
  const lines = [...answerLines(answer, headers.requestId), ...extra];
  lines.push("content-length", String(Buffer.byteLength(answer.body)));
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
