/** What single credentials let in and what they don't; the whole table is in credential-table.test.ts. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocket, WebSocketServer } from "ws";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FrameBatch, KIND } from "../../protocol/frame.ts";
import { pack } from "../../protocol/heads.ts";
import { Peer, startReal, type Real } from "./real.ts";

let real: Real;
const credentials: Record<string, string | null> = { none: null, nonsense: "nonsense" };
beforeAll(async () => {
  const pageFolder = mkdtempSync(join(tmpdir(), "skein-page-"));
  writeFileSync(join(pageFolder, "index.html"), "<p>join</p>");
  writeFileSync(join(pageFolder, "..", "outside.txt"), "secret");
  real = await startReal({}, { pageFolder });
  const peer = new Peer(real.ready.meshUrl);
  await peer.open();
  peer.join(real.ready.localJoinToken, { host: real.ready.hostId });
  credentials["worker ticket"] = String((await peer.next("welcome"))["ticket"]);
  // With its first report the worker of this host is given an ingress, and the ingress's ticket.
  peer.send({ type: "report", held: null, replicas: [], ingress: null });
  credentials["ingress ticket"] = ((await peer.next("assignment"))["ingress"] as { ticket: string }).ticket;
  credentials["join token"] = (
    (await (await real.call("/api/skein/join-tokens", { method: "POST", body: '{"max_uses": 100}' })).json()) as {
      token: string;
    }
  ).token;
  credentials["admin token"] = real.admin;
});
afterAll(() => real.stop());

const KINDS = ["none", "nonsense", "worker ticket", "ingress ticket", "join token", "admin token"] as const;

describe("the operators' listener", () => {
  it("shows the page's shell to anyone: it holds nothing, and runs no script but its own", async () => {
    const page = await real.call("/", { token: null });
    expect([page.status, page.headers.get("content-security-policy")]).toEqual([
      200,
      expect.stringContaining("script-src 'self'"),
    ]);
    expect(await page.text()).not.toContain(real.admin);
    expect((await real.call("/page.js", { token: null })).status).toBe(200);
  });
});

describe("the mesh's listener", () => {
  it("has none of the operators' routes, and no file outside the page's folder", async () => {
    for (const path of ["/api/serve/applications/", "/api/skein/workers", "/metrics", "/"])
      expect((await real.mesh(path, { headers: { authorization: `Bearer ${real.admin}` } })).status).toBe(404);
    const page = await real.mesh("/join");
    expect([page.status, await page.text(), page.headers.get("cross-origin-embedder-policy")]).toEqual([
      200,
      "<p>join</p>",
      "require-corp",
    ]);
    for (const path of ["/join/..%2foutside.txt", "/join/%2e%2e/outside.txt", "/join/..%2f..%2f..%2fetc%2fpasswd"])
      expect((await real.mesh(path)).status).toBe(404);
  });

  it("takes a worker's ticket for that worker on that host only", async () => {
    const attempts = [
      ["w1", real.ready.hostId, "welcome"],
      ["w2", real.ready.hostId, "refused"],
      ["w1", "elsewhere", "refused"],
    ] as const;
    for (const [id, host, answer] of attempts) {
      const peer = new Peer(real.ready.meshUrl);
      await peer.open();
      peer.join(credentials["worker ticket"]!, { id, host, incarnation: 2 });
      expect(await peer.next(answer)).toHaveProperty("type", answer);
    }
  });

  it.each(["constructor", "__proto__"])("refuses the worker id %s, which every object has", async (id) => {
    const peer = new Peer(real.ready.meshUrl);
    await peer.open();
    peer.join(credentials["join token"]!, { id });
    expect(await peer.next("refused")).toMatchObject({ code: "PROTOCOL" });
  });

  it("tells an old process of a worker to go, and lets the newest have its place", async () => {
    const [first, second, late] = [
      new Peer(real.ready.meshUrl),
      new Peer(real.ready.meshUrl),
      new Peer(real.ready.meshUrl),
    ];
    for (const peer of [first, second, late]) await peer.open();
    first.join(credentials["join token"]!, { id: "w9", incarnation: 5 });
    await first.next("welcome");
    second.join(credentials["join token"]!, { id: "w9", incarnation: 6 });
    await second.next("welcome");
    expect(await first.closed).toBe(1008);
    late.join(credentials["join token"]!, { id: "w9", incarnation: 5 });
    expect(await late.next("refused")).toMatchObject({ code: "CONFLICT" });
    second.send({ type: "leave", reason: "test" });
  });

  it.each([
    ["not JSON", "{", "PROTOCOL"],
    ["no join first", JSON.stringify({ type: "pong" }), "PROTOCOL"],
    [
      "another protocol",
      JSON.stringify({
        type: "join",
        protocol: { min: 9, max: 9 },
        build: "b",
        role: "worker",
        credential: "x",
        id: "i",
        host: "h",
        incarnation: 1,
      }),
      "INCOMPATIBLE",
    ],
  ])("closes on %s", async (_name, text, code) => {
    const peer = new Peer(real.ready.meshUrl);
    await peer.open();
    peer.socket.send(text);
    expect(await peer.next("refused")).toMatchObject({ code });
    expect(await peer.closed).toBe(1008);
  });

  it("opens log streams to the worker that was asked, whose ticket a browser offers as a subprotocol", async () => {
    for (const kind of KINDS) {
      const token = credentials[kind];
      const log = new Peer(
        real.ready.meshUrl,
        "/logs/some-reader",
        token == null ? {} : { authorization: `Bearer ${token}` },
      );
      if (kind === "worker ticket") expect(await log.closed).toBe(1008);
      else await expect(log.open()).rejects.toThrow("401");
      // A browser can't set headers: it offers its ticket as a subprotocol, and the other one is agreed on.
      if (token == null) continue;
      const tab = new WebSocket(`${real.ready.meshUrl.replace("http", "ws")}/logs/some-reader`, ["skein.logs", token]);
      const answer = new Promise<string>((resolve) => {
        tab.on("open", () => resolve(tab.protocol)).on("error", (error) => resolve(error.message));
      });
      if (kind === "worker ticket") expect(await answer).toBe("skein.logs");
      else expect(await answer).toContain("401");
      tab.terminate();
    }
  });
});

function hello(ticket: string): Uint8Array {
  const batch = new FrameBatch();
  batch.add(KIND.hello, 0, 0, 0, 0, pack({ min: 1, max: 1, build: "t", features: [], ticket }));
  return batch.take();
}

it("a worker that waits for approval comes in with the token that it came with first, which then has been used", async () => {
  const mesh = await startReal({ requireApproval: true });
  const { token } = (await (await mesh.call("/api/skein/join-tokens", { method: "POST", body: "{}" })).json()) as {
    token: string;
  };
  const join = async (id: string): Promise<unknown> => {
    const peer = new Peer(mesh.ready.meshUrl);
    await peer.open();
    peer.join(token, { id, host: "elsewhere", incarnation: Date.now() });
    const [{ type, code }] = await Promise.race(["welcome", "refused"].map(async (t) => [await peer.next(t)] as const));
    peer.socket.close();
    return code ?? type;
  };
  expect([await join("w1"), await join("w1")]).toEqual(["UNAVAILABLE", "UNAVAILABLE"]);
  expect((await mesh.call("/api/skein/workers/w1/approve", { method: "POST" })).status).toBe(200);
  expect([await join("w1"), await join("w1")]).toEqual(["welcome", "UNAUTHENTICATED"]);
  await mesh.stop();
});

it("whoever says that it is on the coordinator's host waits for approval like everyone; the worker that was started with it doesn't", async () => {
  const mesh = await startReal({ requireApproval: true });
  const { token } = (await (await mesh.call("/api/skein/join-tokens", { method: "POST", body: "{}" })).json()) as {
    token: string;
  };
  const join = async (credential: string, id: string): Promise<Record<string, unknown>> => {
    const peer = new Peer(mesh.ready.meshUrl);
    await peer.open();
    peer.join(credential, { id, host: mesh.ready.hostId, incarnation: Date.now() });
    const answer = await Promise.race(["welcome", "refused"].map((type) => peer.next(type)));
    peer.socket.close();
    return answer;
  };
  expect(await join(token, "stranger")).toMatchObject({ code: "UNAVAILABLE" });
  const welcome = await join(mesh.ready.localJoinToken, "own");
  expect(welcome).toHaveProperty("ticket");
  // It comes back by its ticket.
  expect(await join(String(welcome["ticket"]), "own")).toHaveProperty("ticket");
  await mesh.stop();
});

it("the relay pipes both ways for a replica with a ticket", async () => {
  const ingress = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await new Promise((resolve) => ingress.on("listening", resolve));
  const heard: Buffer[] = [];
  ingress.on("connection", (ws) =>
    ws.on("message", (data) => {
      heard.push(data as Buffer);
      ws.send(Buffer.from("back"));
    }),
  );
  const mesh = await startReal();
  const peer = new Peer(mesh.ready.meshUrl);
  await peer.open();
  peer.join(mesh.ready.localJoinToken, { host: mesh.ready.hostId });
  await peer.next("welcome");
  const id = `ingress-${mesh.ready.hostId}`;
  peer.send({
    type: "report",
    held: null,
    replicas: [],
    ingress: {
      ingress: id,
      state: "ready",
      urls: [`ws://127.0.0.1:${(ingress.address() as { port: number }).port}/link`],
      http: null,
      grpc: null,
      pid: 1,
    },
  });
  const assignment = await peer.next("assignment");
  const relayUrl = (assignment["ingresses"] as { urls: string[] }[])[0]!.urls.at(-1)!;
  expect(relayUrl).toBe(`${mesh.ready.meshUrl.replace("http", "ws")}/relay/${id}`);
  // A replica's ticket as the coordinator of this data directory signs it.
  const { loadSigner } = await import("../../coordinator/keys.ts");
  const signer = loadSigner(join(mesh.dataDir, "coordinator"));
  const ticket = signer.sign({
    use: "replica",
    kid: signer.kid,
    notAfter: Date.now() + 60_000,
    replica: "a#D#x",
    incarnation: 1,
    app: "a",
    deployment: "D",
    worker: "w",
    host: "h",
    callees: [],
  });
  const stranger = new WebSocket(relayUrl);
  const turnedAway = new Promise<number>((resolve) => stranger.on("close", resolve));
  stranger.on("open", () => stranger.send(hello(`${ticket.slice(0, -6)}AAAAAA`)));
  expect([await turnedAway, heard.length]).toEqual([1008, 0]);
  const replica = new WebSocket(relayUrl);
  const back = new Promise<string>((resolve) => replica.on("message", (data) => resolve(String(data))));
  const first = hello(ticket);
  replica.on("open", () => replica.send(first));
  expect(await back).toBe("back");
  expect(heard[0]).toEqual(Buffer.from(first));
  replica.close();
  await mesh.stop();
  ingress.close();
});
