import { mkdtempSync, rmSync } from "node:fs";
import { createServer, get } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { pinned } from "../../protocol/address.ts";
import { keptCertificate, type Certificate } from "../../protocol/node/certificate.ts";
import { dial, WrongKey } from "../../protocol/node/dial.ts";
import { TlsListener } from "../support/tls-listener.ts";

const folder = mkdtempSync(join(tmpdir(), "skein-dial-"));
const HEADERS = { authorization: "Bearer the-secret" };
let mine: Certificate;
let other: Certificate;
const undo: (() => unknown)[] = [];
beforeAll(async () => {
  mine = await keptCertificate(join(folder, "mine"), Date.now());
  other = await keptCertificate(join(folder, "other"), Date.now());
});
afterEach(async () => {
  for (const step of undo.splice(0)) await step();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fetched(address: string): Promise<string> {
  const { url, options } = dial(address);
  return new Promise((resolve, reject) => {
    get(url, { ...options, headers: HEADERS }, (response) => {
      let text = "";
      response.on("data", (part) => void (text += String(part))).on("end", () => resolve(text));
    }).on("error", reject);
  });
}

function opened(address: string): Promise<WebSocket> {
  const { url, options } = dial(address);
  const socket = new WebSocket(url, { ...options, headers: HEADERS });
  undo.push(() => socket.terminate());
  return new Promise((resolve, reject) => socket.on("open", () => resolve(socket)).on("error", reject));
}

async function impostor(): Promise<{ heard: TlsListener; port: number }> {
  const heard = new TlsListener(mine);
  undo.push(() => heard.close());
  return { heard, port: await heard.listen() };
}

describe("dialling by fingerprint", () => {
  it("reaches the one whose key it is, whatever the certificate's names and signers", async () => {
    const server = createServer(mine, (_request, response) => void response.end("here"));
    const sockets = new WebSocketServer({ server });
    sockets.on("connection", (socket) => socket.on("message", (data) => socket.send(String(data))));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    undo.push(
      () => server.closeAllConnections(),
      () => server.close(),
    );
    const { port } = server.address() as AddressInfo;
    for (const host of ["127.0.0.1", "localhost"])
      expect(await fetched(pinned(`https://${host}:${port}/blobs/x`, mine.fingerprint))).toBe("here");
    const socket = await opened(pinned(`wss://127.0.0.1:${port}/link`, mine.fingerprint));
    socket.send("hello");
    expect(await new Promise((resolve) => socket.once("message", (data) => resolve(String(data))))).toBe("hello");
  });

  it("gives another one a handshake and not one byte", async () => {
    const { heard, port } = await impostor();
    const said = await fetched(pinned(`https://127.0.0.1:${port}/x`, other.fingerprint)).catch(
      (error: unknown) => error,
    );
    expect(said).toBeInstanceOf(WrongKey);
    expect(said).toMatchObject({ code: "PERMISSION_DENIED" });
    expect((said as Error).message).toContain(
      `fingerprint ${mine.fingerprint}, the join link says ${other.fingerprint}`,
    );
    await expect(opened(pinned(`wss://127.0.0.1:${port}/x`, other.fingerprint))).rejects.toBeInstanceOf(WrongKey);
    expect(heard.connections).toBe(2);
    expect(heard.heard).toBe("");
    // It would have heard the token.
    void opened(pinned(`wss://127.0.0.1:${port}/x`, mine.fingerprint)).catch(() => {});
    await expect.poll(() => heard.heard).toContain("Bearer the-secret");
  });

  it("without one, only those whom this machine trusts", async () => {
    const { heard, port } = await impostor();
    await expect(fetched(`https://127.0.0.1:${port}/x`)).rejects.toMatchObject({ code: "DEPTH_ZERO_SELF_SIGNED_CERT" });
    await expect(opened(`wss://127.0.0.1:${port}/x`)).rejects.toMatchObject({ code: "DEPTH_ZERO_SELF_SIGNED_CERT" });
    expect(heard.heard).toBe("");
  });

  it("an address where nobody listens is an error, and one that is called off stays quiet", async () => {
    await expect(opened(pinned("wss://127.0.0.1:1/x", mine.fingerprint))).rejects.toThrow("ECONNREFUSED");
    const { heard, port } = await impostor();
    const { url, options } = dial(pinned(`wss://127.0.0.1:${port}/x`, mine.fingerprint));
    const socket = new WebSocket(url, { ...options, headers: HEADERS });
    const closed = new Promise((resolve) => socket.on("error", () => {}).on("close", resolve));
    socket.terminate();
    await closed;
    await expect.poll(() => heard.connections).toBe(1);
    expect(heard.heard).toBe("");
  });
});
