/** Area websocket: what a client sees of its handshake, of messages and of the end; and what the handler saw. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { WebSocket } from "ws";
import { eventually } from "../../system/mesh.ts";
import { compareHttp } from "../compare.ts";
import type { Replay } from "../replay.ts";

interface Closed {
  readonly close_code: number | null;
  readonly reason: string | null;
}

/** Names in lower case, as the comparer has them. */
const lowerNames = (lines: readonly string[]): string[] =>
  lines.map((line) => line.replace(/^[\w-]+/, (name) => name.toLowerCase()));

async function open(replay: Replay, path: string, protocols: string[] = []): Promise<[WebSocket, IncomingMessage]> {
  const socket = new WebSocket(`ws://127.0.0.1:${replay.port}${path}`, protocols);
  const [[response]] = (await Promise.all([once(socket, "upgrade"), once(socket, "open")])) as [
    [IncomingMessage],
    unknown,
  ];
  return [socket, response];
}

async function say(socket: WebSocket, message: string | Buffer): Promise<Buffer> {
  socket.send(message);
  const [data] = (await once(socket, "message")) as [Buffer];
  return data;
}

async function closed(socket: WebSocket): Promise<Closed> {
  const [code, reason] = (await once(socket, "close")) as [number, Buffer];
  // 1006: the connection ended without a word.
  return code === 1006 ? { close_code: null, reason: null } : { close_code: code, reason: reason.toString() };
}

/** C046 */
export async function echoes(replay: Replay): Promise<void> {
  const observed = replay.observed<Record<string, unknown> & { handshake: { status: number; headers: string[] } }>(0);
  const [socket, response] = await open(replay, "/fa/ws?a=1", ["chat", "x"]);
  const headers = Object.entries(response.headers).map(([name, value]) => [name, String(value)] as const);
  const handshake = { ...observed.handshake, headers: lowerNames(observed.handshake.headers) };
  replay.findings.push(
    ...compareHttp(handshake, {
      status: response.statusCode ?? 0,
      headers,
      body: Buffer.alloc(0),
      framing: "none",
      chunks: [],
      end: null,
      interim: [],
    }).map((finding) => ({ step: 0, ...finding })),
  );
  const { handshake: _, ...said } = observed;
  replay.json(0, "said", said, {
    subprotocol: socket.protocol,
    "text hi": (await say(socket, "hi")).toString(),
    "binary 010203": (await say(socket, Buffer.from([1, 2, 3]))).toString("hex"),
    scope: (await say(socket, "scope")).toString(),
    "70000-char text": `${(await say(socket, "x".repeat(70_000))).length} chars echoed`,
  });
  socket.close(1000);
  await closed(socket);
}

/** C047 */
export async function closing(replay: Replay): Promise<void> {
  let skein: string[] = [];
  const ended = (event: string): boolean => event.startsWith("disconnect");
  const ends = async (count: (events: readonly string[]) => number): Promise<void> =>
    eventually(async () => {
      skein = (await replay.json200("/fa/events")) as string[];
      return skein.filter(ended).length === count(skein);
    }, "the handler has seen the end").catch(() => {});
  // What C046 left is over before it is forgotten.
  await ends((events) => events.filter((event) => event === "open").length);
  await replay.get("/fa/events?clear");
  for (const step of [0, 1, 2, 3]) {
    const message = /^send '(.*)'$/.exec(String(replay.step(step).request))?.[1] ?? "";
    const [socket] = await open(replay, "/fa/ws");
    socket.send(message);
    replay.json(step, "closed", replay.observed<Closed>(step), await closed(socket));
  }
  await ends(() => 4);
  const [polite] = await open(replay, "/fa/ws");
  polite.close(4001);
  await closed(polite);
  await ends(() => 5);
  const [rude] = await open(replay, "/fa/ws");
  rude.terminate();
  await ends(() => 6);
  // The recording's first two are C046's.
  const ray = replay
    .observed<{ events_seen_by_handler_in_order: string[] }>(4)
    .events_seen_by_handler_in_order.slice(2);
  replay.json(4, "events", ray.join(", "), skein.join(", "));
}

/** X-WS-01: handshakes that are refused. */
export async function refusedHandshakes(replay: Replay): Promise<void> {
  for (const [step, { request }] of replay.recording.steps.entries()) {
    const {
      http_status: status,
      headers,
      body,
    } = replay.observed<{ http_status: number; headers: string[]; body: string }>(step);
    const answer = await replay.send({
      method: "GET",
      path: String(request).slice("WS ".length),
      headers: ["upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="],
    }, "connection: Upgrade\r\n"); // prettier-ignore
    replay.http(step, answer, { status, headers: lowerNames(headers), body });
  }
}
