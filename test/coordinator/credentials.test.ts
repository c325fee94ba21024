/** Every route and message against every kind of credential; hosts and origins; refusals that don't help guessing. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { request } from "node:http";
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
const HASH = "a".repeat(64);

describe("the operators' listener takes the admin token only", () => {
  it.each([
    ["GET", "/api/serve/applications/"],
    ["PUT", "/api/serve/applications/"],
    ["POST", "/api/serve/applications/"],
    ["POST", "/api/v1/applications/a/deployments/b/scale"],
    ["GET", "/api/ray/version"],
    ["HEAD", `/api/skein/blobs/${HASH}`],
    ["PUT", `/api/skein/blobs/${HASH}`],
    ["PUT", "/api/skein/applications/a"],
    ["DELETE", "/api/skein/applications/a"],
    ["GET", "/api/skein/workers"],
    ["POST", "/api/skein/workers/w/approve"],
    ["GET", "/api/skein/join-tokens"],
    ["DELETE", "/api/skein/join-tokens/x"],
    ["GET", "/api/skein/logs/a"],
    ["GET", "/api/skein/logs/a/b"],
    ["GET", "/api/skein/page"],
    ["GET", "/metrics"],
    ["GET", "/nothing"],
  ])("%s %s", async (method, path) => {
    const answers: Record<string, number> = {};
    for (const kind of KINDS) {
      const answer = await real.call(path, {
        method,
        token: credentials[kind]!,
        ...(method === "PUT" || method === "POST" ? { body: "x" } : {}),
      });
      answers[kind] = answer.status;
      const text = await answer.text();
      expect([...answer.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
      if (kind !== "admin token" && method !== "HEAD") expect(text).toBe("401: Unauthorized");
    }
    const { "admin token": admin, ...others } = answers;
    expect(new Set(Object.values(others))).toEqual(new Set([401]));
    expect(admin).not.toBe(401);
  });

  it("DELETE and shutdown too (refusals only)", async () => {
    for (const [method, path] of [
      ["DELETE", "/api/serve/applications/"],
      ["POST", "/api/skein/shutdown"],
      ["POST", "/api/skein/join-tokens"],
    ] as const)
      for (const kind of KINDS.slice(0, -1))
        expect((await real.call(path, { method, token: credentials[kind]! })).status).toBe(401);
  });

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
  it.each([
    [`/blobs/${HASH}`, 404],
    ["/models/x", 404],
  ])("GET %s takes a worker's ticket only", async (path, good) => {
    for (const kind of KINDS) {
      const token = credentials[kind];
      const answer = await real.mesh(path, { headers: token == null ? {} : { authorization: `Bearer ${token}` } });
      expect([kind, answer.status]).toEqual([kind, kind === "worker ticket" ? good : 401]);
    }
  });

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

  it.each([
    ["none", "worker", "UNAUTHENTICATED"],
    ["nonsense", "worker", "UNAUTHENTICATED"],
    ["worker ticket", "worker", "UNAUTHENTICATED"],
    ["ingress ticket", "worker", "UNAUTHENTICATED"],
    ["admin token", "worker", "UNAUTHENTICATED"],
    ["join token", "ingress", "UNAUTHENTICATED"],
    ["worker ticket", "ingress", "UNAUTHENTICATED"],
    ["ingress ticket", "ingress", "UNAUTHENTICATED"],
    ["join token", "worker", "welcome"],
  ])("%s: a stranger's join as %s gets %s, and never a reason", async (kind, role, expected) => {
    const peer = new Peer(real.ready.meshUrl);
    await peer.open();
    peer.join(credentials[kind] ?? "", { id: `stranger-${kind}`, host: "elsewhere", role });
    if (expected === "welcome") return expect(await peer.next("welcome")).toHaveProperty("ticket");
    expect(await peer.next("refused")).toEqual({
      type: "refused",
      code: expected,
      message: "Joining was refused. Ask the operator of this mesh for a valid join token.",
    });
    expect(await peer.closed).toBe(1008);
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

  it("opens log streams to the worker that was asked, and relays to nobody without a replica's ticket", async () => {
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
    for (const kind of KINDS) {
      const relayed = new WebSocket(`${real.ready.meshUrl.replace("http", "ws")}/relay/ingress-${real.ready.hostId}`);
      const closed = new Promise<number>((resolve) => relayed.on("close", resolve));
      relayed.on("open", () => relayed.send(hello(credentials[kind] ?? "")));
      expect([kind, await closed]).toEqual([kind, 1008]);
    }
  });
});

function hello(ticket: string): Uint8Array {
  const batch = new FrameBatch();
  batch.add(KIND.hello, 0, 0, 0, 0, pack({ min: 1, max: 1, build: "t", features: [], ticket }));
  return batch.take();
}

describe("foreign pages", () => {
  /** fetch won't set Host; node:http does. */
  const status = (url: string, headers: Record<string, string>): Promise<number> =>
    new Promise((resolve, reject) =>
      request(url, { headers }, (answer) => resolve(answer.resume().statusCode ?? 0))
        .on("error", reject)
        .end(),
    );

  it("can't reach either listener under another name or from another origin, token or not", async () => {
    for (const [base, path, token] of [
      [real.ready.operatorsUrl, "/api/ray/version", real.admin],
      [real.ready.meshUrl, "/join", ""],
    ] as const) {
      const { host, port } = new URL(base);
      const at = (headers: Record<string, string>): Promise<number> =>
        status(base + path, { authorization: `Bearer ${token}`, ...headers });
      expect(await at({ host })).toBe(200);
      expect(await at({ host: `localhost:${port}` })).toBe(200);
      expect(await at({ host: `evil.example:${port}` })).toBe(403);
      expect(await at({ host: "127.0.0.1.evil.example" })).toBe(403);
      expect(await at({ host, origin: base })).toBe(200);
      expect(await at({ host, origin: "https://evil.example" })).toBe(403);
      expect(await at({ host, origin: "null" })).toBe(403);
    }
    const control = new Peer(real.ready.meshUrl, "/control", { origin: "https://evil.example" });
    await expect(control.open()).rejects.toThrow("403");
  });

  it("nor a tokenless API, which exists on loopback only", async () => {
    const open = await startReal({ insecureLocalApi: true });
    const base = open.ready.operatorsUrl;
    expect(await status(`${base}/api/ray/version`, {})).toBe(200);
    expect(await status(`${base}/api/ray/version`, { origin: "https://evil.example" })).toBe(403);
    expect(await status(`${base}/api/ray/version`, { host: "evil.example" })).toBe(403);
    await open.stop();
    await expect(startReal({ insecureLocalApi: true, operators: { host: "0.0.0.0", port: 0 } })).rejects.toThrow(
      "loopback only",
    );
  });
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
