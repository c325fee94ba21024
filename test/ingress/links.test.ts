/** The mesh listener, tickets, handle calls, restart: with real sockets. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { pack, unpack, type FailHead, type OpenCall, type OpenHead } from "../../protocol/heads.ts";
import type { Stream } from "../../protocol/stream.ts";
import { generateKeys } from "../../protocol/ticket.ts";
import { routed } from "./harness.ts";
import { answering, bytes, raw, run, runOne, type Handler, type Running } from "./running.ts";
import { bodyOf, get, none, one, stopped, until } from "./opened.ts";

const ok = answering(() => ({ body: "ok" }));

describe("tickets", () => {
  it("lets in what the coordinator signed, and nothing else", async () => {
    const running = await none();
    running.route({ revoked: ["app#D#gone"] });
    const stranger = await generateKeys("k1");
    const { signTicket } = await import("../../protocol/ticket.ts");
    const claims = {
      use: "replica",
      kid: "k1",
      notAfter: Date.now() + 1e6,
      replica: "app#D#a",
      incarnation: 1,
      app: "app",
      deployment: "D",
      worker: "w",
      host: "h",
      callees: [] as string[],
    } as const;
    const worker = await signTicket(
      { use: "worker", kid: "k1", notAfter: Date.now() + 1e6, worker: "w", host: "h" },
      stranger.privateKey,
    );
    for (const ticket of [
      "",
      "x.y",
      await signTicket(claims, stranger.privateKey),
      worker,
      await running.sign({ notAfter: Date.now() - 1 }),
      await running.sign({ replica: "app#D#gone" }),
    ]) {
      const replica = await running.dial(ticket);
      expect((await replica.closed).code).toBe(4001);
    }
    expect((await running.dial(await running.sign({}))).link.state).toBe("ready");
  });
  it("the newest incarnation wins, and of one incarnation the newest connection", async () => {
    const running = await none();
    const first = await running.replica("app#D#a", ok, { incarnation: 2 });
    const second = await running.replica("app#D#a", ok, { incarnation: 2 });
    expect((await first.closed).code).toBe(4001);
    const old = await running.replica("app#D#a", ok, { incarnation: 1 });
    expect((await old.closed).code).toBe(4001);
    expect(second.link.state).toBe("ready");
  });
  it("a revoked ticket ends the link", async () => {
    const running = await none();
    running.route({});
    const replica = await running.replica("app#D#a", ok);
    running.route({ revoked: ["app#D#a"] });
    expect((await replica.closed).reason).toContain("revoked");
  });
  it("closes who says nothing, and answers no other path", async () => {
    const running = await none();
    const silent = new WebSocket(running.meshUrl);
    const began = performance.now();
    await new Promise((resolve) => silent.on("close", resolve).on("error", () => {}));
    expect(performance.now() - began).toBeGreaterThan(1_900);
    const other = new WebSocket(running.meshUrl.replace("/link", "/other"));
    expect(await new Promise<string>((resolve) => other.on("error", (e) => resolve(e.message)))).toContain("404");
    const hostile = new WebSocket(running.meshUrl);
    hostile.on("open", () => hostile.send("no frame at all, but long enough to be one"));
    expect(await new Promise((resolve) => hostile.on("close", resolve).on("error", () => {}))).not.toBe(1000);
  });
});

describe("a script", () => {
  const call = (deployment: string): OpenCall => ({
    kind: "call",
    app: "app",
    deployment,
    requestId: "r",
    deadlineMs: null,
    epoch: 0,
    hops: 0,
    model: "",
    method: "m",
    stream: false,
  });
  it("may call every deployment with a caller's ticket, and serves none", async () => {
    const seen: OpenHead[] = [];
    const running = await one((stream, head) => {
      seen.push(head);
      stream.accept();
      stream.write("value", bytes("answer"));
      stream.end();
      return {};
    });
    const script = await running.dial(await running.signCaller());
    const open = (head: OpenHead): Promise<string> =>
      new Promise((resolve) => {
        script.link.open(
          head,
          {
            onChunk: (payload) => resolve(Buffer.from(payload).toString()),
            onFail: (fail) => resolve(`${fail.code}: ${fail.message}`),
          },
          true,
        );
      });
    expect(await open(call("D"))).toBe("answer");
    expect(seen).toHaveLength(1);
    expect(await open(call("Nope"))).toMatch(/^NOT_FOUND: /);
    // It is no replica: it is neither counted nor asked.
    expect(running.ingress.mesh.links).toBe(1);
    // A replica that is bound to nothing may still call nothing.
    const replica = await running.replica("app#D#b", ok);
    const refused = Promise.withResolvers<string>();
    replica.link.open(call("D"), { onFail: (fail) => refused.resolve(fail.code) }, true);
    expect(await refused.promise).toBe("PERMISSION_DENIED");
  });
});

describe("replicas come and go", () => {
  it("a request inside a replica whose connection breaks is answered by the other", async () => {
    const running = await none();
    running.route({ deployments: [{ replicas: [routed("app#D#a"), routed("app#D#b")] }] });
    const seen: string[] = [];
    const dead = await running.replica("app#D#a", (stream) => {
      stream.accept();
      seen.push("a");
      dead.socket.terminate();
      return {};
    });
    await running.replica(
      "app#D#b",
      answering(() => (seen.push("b"), { body: "b" })),
    );
    for (let i = 0; i < 6; i++) expect(bodyOf(await raw(running.port, get("/")))).toBe("b");
    expect(seen.filter((s) => s === "a").length).toBeLessThanOrEqual(1);
  });
  it("tells the coordinator its load, at once when a queue begins", async () => {
    const running = await one((stream) => (stream.accept(), {}), { deployment: { maxOngoingRequests: 1 } });
    void raw(running.port, get("/"));
    void raw(running.port, get("/"));
    await until(() =>
      running.stats.some(
        (s) => s.deployments[0]?.queued === 1 && s.deployments[0].ongoing === 1 && s.deployments[0].links === 1,
      ),
    );
  });
  it("/metrics counts requests, errors, queues and links, without labels that clients choose", async () => {
    const running = await one(ok);
    await raw(running.port, get("/"));
    await raw(running.port, get("/x?y"));
    running.route({ apps: [] });
    await raw(running.port, get("/secret-path"));
    const text = await (await fetch(`${running.meshUrl.replace("ws", "http").replace("/link", "/metrics")}`)).text();
    expect(text).toContain(
      'skein_num_http_requests_total{route="/",method="GET",application="app",status_code="200"} 2',
    );
    expect(text).toContain(
      'skein_num_http_error_requests_total{route="",method="GET",application="",error_code="404"} 1',
    );
    expect(text).toContain("skein_ingress_links 1");
    expect(text).not.toContain("secret");
  });
  it("writes an access line per request, and none when that is off", async () => {
    const running = await one(ok);
    await raw(running.port, get("/some?query"));
    running.route({
      apps: [
        { name: "app", routePrefix: "/", ingress: "D", grpcServices: [], loggingConfig: { enable_access_log: false } },
      ],
      deployments: [{ replicas: [routed("app#D#a")] }],
    });
    await raw(running.port, get("/quiet"));
    const file = path.join(running.dataDir, "logs", "ingress-access.log");
    let text = "";
    await until(
      () => (
        void readFile(file, "utf8").then(
          (t) => (text = t),
          () => {},
        ),
        text !== ""
      ),
    );
    expect(text).toMatch(/^INFO \S+ ingress app [0-9a-f-]{36} -- GET \/ 200 [\d.]+ms\n$/);
  });
});

describe("handle calls", () => {
  const call = (over: Partial<OpenCall> = {}): OpenCall => ({
    kind: "call",
    app: "app",
    deployment: "Child",
    requestId: "r",
    deadlineMs: null,
    epoch: 0,
    hops: 1,
    model: "",
    method: "m",
    stream: false,
    ...over,
  });
  async function two(child: Handler): Promise<{ running: Running; parent: Awaited<ReturnType<Running["replica"]>> }> {
    const running = await none();
    running.route({
      deployments: [
        { replicas: [routed("app#D#a")] },
        { name: "Child", replicas: [routed("app#Child#c")] },
        { name: "Other" },
      ],
    });
    const parent = await running.replica("app#D#a", ok, { callees: ["app#Child", "app#Nothing"] });
    await running.replica("app#Child#c", child, { deployment: "Child" });
    return { running, parent };
  }
  it("pass arguments, results and hops, streams with credit, in both directions", async () => {
    const { parent } = await two((stream, head) => {
      stream.accept();
      let sum = 0;
      return {
        onChunk: (payload, _type, _more, charge) => {
          sum += payload.byteLength;
          stream.consumed(charge);
        },
        onEnd: () => {
          stream.write("value", pack([sum, head.hops]));
          stream.end();
        },
      };
    });
    const result = Promise.withResolvers<unknown>();
    const stream = parent.link.open(call(), {
      onChunk: (payload, _t, _m, charge) => (result.resolve(unpack(payload)), stream.consumed(charge)),
      onFail: (fail) => result.reject(new Error(fail.message)),
      onWritable: () => more(),
    });
    let left = 40;
    const more = (): void => {
      while (left > 0) {
        left -= 1;
        if (!stream.write("value", new Uint8Array(50_000), left > 0)) return;
      }
      stream.end();
    };
    more();
    expect(await result.promise).toEqual([40 * 50_000, 2]);
  });
  it("pass on cancellation and deadline", async () => {
    const heads: number[] = [];
    const cancelled: string[] = [];
    const { parent } = await two((stream, head) => {
      stream.accept();
      heads.push(head.deadlineMs ?? -1);
      return { onCancel: (reason) => void cancelled.push(reason) };
    });
    const stream = parent.link.open(call(), {}, true);
    await until(() => heads.length === 1);
    stream.cancel("enough");
    await until(() => cancelled.length === 1);
    const fail = await new Promise<FailHead>(
      (resolve) => void parent.link.open(call({ deadlineMs: 500 }), { onFail: resolve }, true),
    );
    expect(fail.code).toBe("TIMEOUT");
    await until(() => cancelled.length === 2);
    expect(heads[1]).toBeGreaterThan(100);
    expect(heads[1]).toBeLessThanOrEqual(500);
  });
  it("are refused without permission, beyond the hops, to nothing, and for other kinds", async () => {
    const { parent } = await two(ok);
    const refused = (head: Parameters<typeof parent.link.open>[0]): Promise<string> =>
      new Promise((resolve) => void parent.link.open(head, { onFail: (fail) => resolve(fail.code) }, true));
    expect(await refused(call({ deployment: "Other" }))).toBe("PERMISSION_DENIED");
    expect(await refused(call({ deployment: "Nothing" }))).toBe("NOT_FOUND");
    expect(await refused(call({ hops: 16 }))).toBe("INVALID_ARGUMENT");
    expect(await refused({ ...call(), kind: "grpc", path: "/x", metadata: [] })).toBe("PERMISSION_DENIED");
  });
});

describe("restart and ports", () => {
  it("serves without the coordinator from what it remembers, on the ports it had", async () => {
    const dataDir = await mkdtemp(path.join(tmpdir(), "skein-ingress-"));
    const keys = await generateKeys("k1");
    const first = await run({ dataDir, keys });
    first.route({ deployments: [{ replicas: [routed("app#D#a")] }] });
    await until(() => first.ingress.mesh.table !== null);
    const ports = [first.port, first.meshUrl];
    await first.stop();
    const second = await run({ dataDir, keys, reachable: false });
    stopped(second);
    expect([second.port, second.meshUrl]).toEqual(ports);
    await second.replica("app#D#a", ok);
    expect(bodyOf(await raw(second.port, get("/")))).toBe("ok");
    await rm(dataDir, { recursive: true, force: true, maxRetries: 5 });
  });
  it("an older table is not taken", async () => {
    const running = await none();
    running.route({ revision: 5 });
    running.route({ revision: 4, apps: [] });
    await until(() => running.ingress.mesh.routes?.json === '{"/":"app"}');
    expect(running.ingress.mesh.table!.version.revision).toBe(5);
  });
  it("says in one sentence which port is taken, and serves when it is free", async () => {
    const blocker = net.createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => blocker.once("listening", resolve));
    const { port } = blocker.address() as net.AddressInfo;
    const running = await none({ http: { port } });
    expect(running.reports[0]).toMatchObject({
      state: "failed",
      http: null,
      error: `Port ${port} on 127.0.0.1 is in use by another program: stop it, or choose another port in http_options.port.`,
    });
    await new Promise((resolve) => blocker.close(resolve));
    await until(() => running.reports.at(-1)!.state === "ready");
    expect(running.reports.at(-1)!.http).toEqual({ host: "127.0.0.1", port });
  });
  it("stops in order: what runs finishes, new connections are refused", async () => {
    const held: Stream[] = [];
    const running = await runOne((stream) => {
      stream.accept();
      held.push(stream);
      return {};
    });
    const answer = raw(running.port, get("/").replace("connection: close\r\n", ""));
    await until(() => held.length === 1);
    const stopped = running.ingress.stop(10_000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await expect(raw(running.port, get("/"))).rejects.toThrow();
    // Whoever still has a connection (gRPC's live long) is told why.
    expect(running.ingress.mesh.notReady()).toBe("This node is being drained.");
    held[0]!.head({ status: 200, headers: [] });
    held[0]!.write("bytes", bytes("late"));
    held[0]!.end();
    expect(await answer).toMatch(/connection: close[^]*late$/i);
    await stopped;
    await running.stop();
  });
});
