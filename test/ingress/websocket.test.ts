/** Clients' WebSockets through the ingress: C046, C047, X-WS-01. */
import { once } from "node:events";
import net from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import type { EndHead } from "../../protocol/heads.ts";
import type { Stream } from "../../protocol/stream.ts";
import { until } from "./opened.ts";
import { raw, runOne, type Handler, type Running } from "./running.ts";

const open: Running[] = [];
async function one(handler: Handler): Promise<Running> {
  const running = await runOne(handler);
  open.push(running);
  return running;
}
afterEach(async () => {
  for (const running of open.splice(0)) await running.stop();
});

const ends: (EndHead | string)[] = [];
/** Echoes messages as they come, piece by piece; `close N` closes; `boom` fails. */
const echo: Handler = (stream: Stream, head) => {
  stream.accept();
  if (head.kind !== "http" || !head.upgrade) throw new Error("an upgrade was expected");
  if (head.path === "/reject") {
    stream.head({ status: 403, headers: ["content-type", "text/plain; charset=utf-8"] });
    stream.end();
    return {};
  }
  const protocols = head.headers[head.headers.indexOf("sec-websocket-protocol") + 1]!;
  stream.head({ status: 101, headers: protocols.startsWith("chat") ? ["sec-websocket-protocol", "chat"] : [] });
  return {
    onChunk: (payload, type, more, charge) => {
      const text = type === "text" ? Buffer.from(payload).toString() : "";
      stream.consumed(charge);
      if (text.startsWith("close ")) stream.end({ close: { code: Number(text.slice(6)), reason: "asked" } });
      else if (text === "boom") stream.fail({ code: "APPLICATION_ERROR", message: "secret" });
      else stream.write(type, payload.slice(), more);
    },
    onEnd: (end) => {
      ends.push(end);
      stream.end();
    },
    onCancel: (reason) => void ends.push(reason),
  };
};

async function connect(running: Running, path = "/ws", protocols: string[] = []): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${running.port}${path}`, protocols);
  await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
  return socket;
}
const next = (socket: WebSocket): Promise<{ data: Buffer; isBinary: boolean }> =>
  new Promise((resolve) => socket.once("message", (data, isBinary) => resolve({ data: data as Buffer, isBinary })));
const closed = (socket: WebSocket): Promise<{ code: number; reason: string }> =>
  new Promise((resolve) => socket.once("close", (code, reason) => resolve({ code, reason: reason.toString() })));

describe("websocket", () => {
  it("carries text and binary both ways, large messages whole, and the chosen protocol", async () => {
    const running = await one(echo);
    const socket = await connect(running, "/ws?a=1", ["chat", "x"]);
    expect(socket.protocol).toBe("chat");
    socket.send("hi");
    expect(await next(socket)).toMatchObject({ isBinary: false, data: Buffer.from("hi") });
    socket.send(Buffer.from([1, 2, 3]));
    expect(await next(socket)).toMatchObject({ isBinary: true, data: Buffer.from([1, 2, 3]) });
    const large = "é".repeat(1_000_000);
    socket.send(large);
    expect((await next(socket)).data.toString()).toBe(large);
    socket.close();
  });
  it.each([1000, 1011, 4123])("the handler's close code %i reaches the client", async (code) => {
    const socket = await connect(await one(echo));
    socket.send(`close ${code}`);
    expect(await closed(socket)).toEqual({ code, reason: "asked" });
  });
  it("a handler that throws closes with 1011 and no detail", async () => {
    const socket = await connect(await one(echo));
    socket.send("boom");
    expect(await closed(socket)).toEqual({ code: 1011, reason: "Internal Server Error" });
  });
  it("the client's close code reaches the handler; a broken connection is 1006", async () => {
    const running = await one(echo);
    ends.length = 0;
    const polite = await connect(running);
    polite.close(4001, "bye");
    await closed(polite);
    const rude = await connect(running);
    rude.terminate();
    await until(() => ends.length === 2);
    expect(ends).toEqual([{ close: { code: 4001, reason: "bye" } }, { close: { code: 1006, reason: "" } }]);
  });
  it("a handler may refuse, and unknown paths are 404 (differs: Ray says 500)", async () => {
    const running = await one(echo);
    const upgrade = (path: string, version = "13"): string =>
      `GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: ${version}\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
    expect(await raw(running.port, upgrade("/reject"))).toMatch(/^HTTP\/1.1 403 [^]*content-length: 0\r\n/);
    running.route({ apps: [] });
    expect(await raw(running.port, upgrade("/nowhere"))).toMatch(/^HTTP\/1.1 404 /);
  });
  it("a handshake that is no handshake is refused, and the next one is whole", async () => {
    const running = await one(echo);
    const bad =
      "GET /ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: x\r\n\r\n";
    expect(await raw(running.port, bad)).toMatch(/^HTTP\/1.1 400 /);
    const socket = await connect(running, "/ws", ["chat"]);
    expect(socket.protocol).toBe("chat");
    socket.close();
  });

  it("leaves no socket of a refused client that goes on sending and goes away", async () => {
    const running = await one(echo);
    const sockets = (): number =>
      process.getActiveResourcesInfo().filter((kind) => kind.startsWith("TCPSocket")).length;
    const before = sockets();
    const head =
      "GET /reject HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (let i = 0; i < 5; i += 1) {
      const socket = net.connect({ port: running.port, host: "127.0.0.1", allowHalfOpen: true });
      socket.on("error", () => {});
      socket.write(head);
      await once(socket, "data");
      socket.write("more");
      await new Promise((resolve) => setImmediate(resolve));
      socket.destroy();
    }
    await until(() => sockets() <= before);
  });
});
