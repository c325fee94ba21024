/** Every listener of an ingress against every kind of credential. What is tried is read from the code: a new path or method needs a row. */
import { createHash } from "node:crypto";
import { Client, credentials as plain, Metadata, status } from "@grpc/grpc-js";
import { beforeEach, describe, expect, it } from "vitest";
import { BUILT_IN_METHODS } from "../../ingress/grpc/built-in.ts";
import { SYSTEM_PATHS } from "../../ingress/http/answers.ts";
import { MESH_PATHS } from "../../ingress/links/listener.ts";
import { apiKeyText } from "../../protocol/api-key.ts";
import { generateKeys, signTicket, type Ticket } from "../../protocol/ticket.ts";
import { ECHO } from "./grpc/echo-descriptors.ts";
import { routed } from "./harness.ts";
import { none } from "./opened.ts";
import { answering, raw, type Handler, type Running } from "./running.ts";

const KINDS = [
  "none",
  "nonsense",
  "admin token",
  "join token",
  "API key",
  "tampered API key",
  "expired API key",
  "revoked API key",
  "API key of another application",
  "worker ticket",
  "ingress ticket",
  "replica ticket",
  "tampered replica ticket",
  "expired replica ticket",
  "revoked replica ticket",
  "replica ticket of a stranger",
  "replica ticket of another key",
  "caller ticket",
  "expired caller ticket",
] as const;
type Kind = (typeof KINDS)[number];

const ID = "0123456789ab";
const OTHER = "00000000000c";
const OLD = "00000000000a";
const key = (id: string, letter = "k"): string => apiKeyText(id, letter.repeat(43));
const kept = (text: string, id: string, expiresAtMs: number | null = null) => ({
  id,
  hash: createHash("sha256").update(text).digest("hex"),
  expiresAtMs,
});

const handler: Handler = (stream, head, ended) => {
  if (head.kind === "http") return answering(() => ({ body: "answered" }))(stream, head, ended);
  stream.accept();
  stream.write("bytes", Buffer.from("answered"));
  stream.end();
  return {};
};

let running: Running;
let shown: Readonly<Record<Kind, string>>;
beforeEach(async () => {
  const keys = await generateKeys("k1");
  running = await none({ keys, grpc: { grpc_servicer_functions: ["x.proto:user.Echo"] } });
  const app = { ingress: "D", grpcServices: ["user.Echo"], grpcDescriptors: ECHO };
  running.route({
    revoked: ["closed#D#gone"],
    apps: [
      { ...app, name: "closed", routePrefix: "/closed", apiKeys: [kept(key(ID), ID), kept(key(OLD), OLD, 1)] },
      { ...app, name: "other", routePrefix: "/other", apiKeys: [kept(key(OTHER), OTHER)] },
      { ...app, name: "open", routePrefix: "/" },
    ],
    deployments: ["closed", "open"].map((name) => ({ app: name, replicas: [routed(`${name}#D#a`)] })),
  });
  for (const name of ["closed", "open"]) await running.replica(`${name}#D#a`, handler, { app: name });
  const ticket = (claims: object, lifetimeMs = 60_000, by = keys, kid = "k1"): Promise<string> =>
    signTicket({ ...claims, kid, notAfter: Date.now() + lifetimeMs } as Ticket, by.privateKey);
  const replica = {
    use: "replica",
    incarnation: 1,
    app: "closed",
    deployment: "D",
    worker: "w",
    host: "h",
    callees: [],
  };
  const good = await ticket({ ...replica, replica: "closed#D#b" });
  const at = good.lastIndexOf(".") + 1;
  const stranger = await generateKeys("k1");
  shown = {
    none: "",
    nonsense: "nonsense",
    "admin token": "a".repeat(43),
    "join token": "j".repeat(43),
    "API key": key(ID),
    "tampered API key": key(ID, "t"),
    "expired API key": key(OLD),
    "revoked API key": key("00000000000b"),
    "API key of another application": key(OTHER),
    "worker ticket": await ticket({ use: "worker", worker: "w", host: "h" }),
    "ingress ticket": await ticket({ use: "ingress", ingress: "i1", host: "h" }),
    "replica ticket": good,
    "tampered replica ticket": `${good.slice(0, at)}${good[at] === "A" ? "B" : "A"}${good.slice(at + 1)}`,
    "expired replica ticket": await ticket({ ...replica, replica: "closed#D#b" }, -1),
    "revoked replica ticket": await ticket({ ...replica, replica: "closed#D#gone" }),
    "replica ticket of a stranger": await ticket({ ...replica, replica: "closed#D#b" }, 60_000, stranger),
    "replica ticket of another key": await ticket({ ...replica, replica: "closed#D#b" }, 60_000, stranger, "k2"),
    "caller ticket": await ticket({ use: "caller" }),
    "expired caller ticket": await ticket({ use: "caller" }, -1),
  };
});

const asked = (path: string, kind: Kind): string =>
  `GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-request-id: r\r\n${kind === "none" ? "" : `authorization: Bearer ${shown[kind]}\r\n`}\r\n`;
const without = (text: string): string => text.replace(/\r\ndate: [^\r]*/i, "");

describe("the mesh listener", () => {
  /** Of the machine's own: numbers without names of callers; no credential. */
  const ROWS = { link: "a replica's or a script's ticket", metrics: "this machine only" };

  it("has these paths and no others", async () => {
    expect(Object.keys(ROWS)).toEqual(Object.keys(MESH_PATHS));
    const { port } = new URL(running.meshUrl);
    for (const path of ["/", "/-/routes", "/closed", "/api/skein/workers", "/control"])
      for (const kind of KINDS) expect(await raw(Number(port), asked(path, kind))).toMatch(/^HTTP\/1.1 404 /);
    expect(await raw(Number(port), asked(MESH_PATHS.metrics, "none"))).toMatch(/^HTTP\/1.1 200 /);
  });

  it("links who has a replica's or a script's ticket, and tells everyone else the same", async () => {
    const reasons = new Set<string>();
    for (const kind of KINDS) {
      const { link, closed, socket } = await running.dial(shown[kind]);
      if (kind === "replica ticket" || kind === "caller ticket") expect([kind, link.state]).toEqual([kind, "ready"]);
      else {
        const { code, reason } = await closed;
        expect([kind, link.state, code]).toEqual([kind, "closed", 4001]);
        reasons.add(reason);
      }
      socket.close();
    }
    expect([...reasons]).toEqual([expect.stringContaining("not valid here")]);
  });
});

describe("the client listener", () => {
  it("answers for an application with keys who shows one of its own, and tells everyone else the same", async () => {
    const answers = new Set<string>();
    for (const kind of KINDS) {
      const text = await raw(running.port, asked("/closed", kind));
      if (kind === "API key") expect(text).toMatch(/^HTTP\/1.1 200 [^]*answered$/);
      else answers.add(without(text));
    }
    expect([...answers]).toEqual([expect.stringMatching(/^HTTP\/1.1 401 Unauthorized\r\n/)]);
  });

  it.each(["/", "/open/x", ...SYSTEM_PATHS])("answers everyone at %s", async (path) => {
    for (const kind of KINDS)
      expect([kind, await raw(running.port, asked(path, kind))]).toEqual([
        kind,
        expect.stringMatching(/^HTTP\/1.1 200 /),
      ]);
  });

  it("has system paths of its own only where this table says so", () => {
    expect(SYSTEM_PATHS).toEqual(["/-/healthz", "/-/routes"]);
  });
});

describe("the gRPC listener", () => {
  const call = async (client: Client, path: string, kind: Kind, application = ""): Promise<[number, string]> => {
    const same = (bytes: Buffer): Buffer => bytes;
    const metadata = new Metadata();
    if (kind !== "none") metadata.set("authorization", `Bearer ${shown[kind]}`);
    if (application !== "") metadata.set("application", application);
    return new Promise((resolve) =>
      client.makeUnaryRequest(path, same, same, Buffer.alloc(0), metadata, (error) =>
        resolve(error === null ? [status.OK, ""] : [error.code, error.details]),
      ),
    );
  };
  const opened = (): Client =>
    new Client(`127.0.0.1:${running.reports.findLast((r) => r.grpc !== null)!.grpc!.port}`, plain.createInsecure());

  it("answers as the client listener does", async () => {
    const client = opened();
    const refusals = new Set<string>();
    for (const kind of KINDS) {
      const [code, text] = await call(client, "/user.Echo/Say", kind, "closed");
      if (kind === "API key") expect(code).toBe(status.OK);
      else refusals.add(JSON.stringify([code, text]));
      expect((await call(client, "/user.Echo/Say", kind, "open"))[0]).toBe(status.OK);
    }
    expect([...refusals]).toEqual([expect.stringMatching(/^\[16,"This application needs a valid API key/)]);
    client.close();
  });

  it("has these methods of its own, which ask for nothing", async () => {
    // Watch and reflection are streams: that they begin is what they have to say here.
    expect([...BUILT_IN_METHODS.keys()].sort()).toEqual([
      "/grpc.health.v1.Health/Check",
      "/grpc.health.v1.Health/Watch",
      "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
      "/ray.serve.RayServeAPIService/Healthz",
      "/ray.serve.RayServeAPIService/ListApplications",
    ]);
    const client = opened();
    for (const path of BUILT_IN_METHODS.keys()) {
      if (path.endsWith("/Watch")) continue;
      for (const kind of KINDS) expect((await call(client, path, kind))[0]).not.toBe(status.UNAUTHENTICATED);
    }
    client.close();
  });
});
