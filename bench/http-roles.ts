/** The processes of the HTTP bench that are not Skein's: a bare node:http server, and a replica that answers without user code. */
import { createServer } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocket } from "ws";
import type { OpenHead } from "../protocol/heads.ts";
import { Link } from "../protocol/link.ts";
import type { Stream, StreamEvents } from "../protocol/stream.ts";
import { writeMessage } from "../protocol/node/link-socket.ts";
import { startedByParent, tellParent } from "../protocol/node/parent.ts";
import { chunkText } from "./http-chunk.ts";

export type RoleOptions =
  | { readonly role: "baseline" }
  | { readonly role: "replica"; readonly url: string; readonly ticket: string };

const OK = Buffer.from("ok");
const TEXT = ["content-type", "text/plain; charset=utf-8"];

/** How many chunks, and how many ms between two: `/stream?n=1000&ms=0`. */
function parameters(url: string): { n: number; ms: number } {
  const query = new URLSearchParams(url.slice(url.indexOf("?") + 1));
  return { n: Number(query.get("n") ?? 1000), ms: Number(query.get("ms") ?? 0) };
}

async function produce(url: string, write: (text: string) => boolean, writable: () => Promise<void>): Promise<void> {
  const { n, ms } = parameters(url);
  for (let i = 0; i < n; i++) {
    if (!write(chunkText(i))) await writable();
    if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
  }
}

function baseline(): void {
  const server = createServer((request, response) => {
    if (!request.url!.startsWith("/stream")) return void response.end("ok");
    response.writeHead(200);
    void produce(
      request.url!,
      (text) => response.write(text),
      () => new Promise((resolve) => response.once("drain", resolve)),
    ).then(() => response.end());
  });
  server.listen(0, "127.0.0.1", () =>
    tellParent({ type: "ready", result: (server.address() as { port: number }).port }),
  );
}

function onStream(stream: Stream, head: OpenHead): StreamEvents {
  stream.accept();
  if (head.kind !== "http") throw new Error("HTTP only");
  stream.head({ status: 200, headers: TEXT });
  if (!head.path.startsWith("/stream")) {
    stream.write("bytes", OK);
    stream.end();
    return {};
  }
  let wake = (): void => {};
  void produce(
    head.path,
    (text) => stream.writeText(text),
    () => new Promise((resolve) => (wake = resolve)),
  ).then(() => stream.end());
  return { onWritable: () => wake() };
}

function replica(url: string, ticket: string): void {
  const socket = new WebSocket(url, { perMessageDeflate: false, skipUTF8Validation: true });
  let raw!: Duplex;
  socket.on("upgrade", (response) => (raw = response.socket));
  const link = new Link(
    "dialler",
    { send: (m) => writeMessage(raw, m, true), close: () => socket.close(), afterTurn: (c) => void setImmediate(c) },
    {
      onHello: () => tellParent({ type: "ready", result: 0 }),
      onStream,
      onClose: () => process.exit(1),
    },
    0,
  );
  socket.on("open", () => link.greet({ build: "bench", features: [], ticket }));
  socket.on("message", (data) => link.receive(data as Buffer, 0));
}

const options = await startedByParent<RoleOptions>();
if (options.role === "baseline") baseline();
else replica(options.url, options.ticket);
