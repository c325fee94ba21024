/** Every route, socket and control message of the coordinator against every kind of credential. What is tried is read from the code: a new route needs a row. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Hono } from "hono";
import { WebSocket } from "ws";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { operatorApi, type OperatorApi } from "../../coordinator/api/operators.ts";
import { meshHttp, type MeshHttp } from "../../coordinator/mesh/http.ts";
import { AREAS } from "../../coordinator/mesh/upgrade.ts";
import { toCoordinatorSchema } from "../../protocol/control.ts";
import { FrameBatch, KIND } from "../../protocol/frame.ts";
import { pack } from "../../protocol/heads.ts";
import { everyCredential, INGRESS, KINDS, WORKER, type Kind } from "./every-credential.ts";
import { Peer, startReal, type Real } from "./real.ts";

let real: Real;
let credentials: Readonly<Record<Kind, string | null>>;
beforeAll(async () => {
  const pageFolder = mkdtempSync(join(tmpdir(), "skein-page-"));
  writeFileSync(join(pageFolder, "index.html"), "<p>join</p>");
  real = await startReal({}, { pageFolder });
  credentials = await everyCredential(real);
});
afterAll(() => real.stop());

/** Routes of a router, without what runs before all of them. */
const routesOf = (app: Hono): string[] =>
  [...new Set(app.routes.filter((r) => r.path !== "/*").map((r) => `${r.method} ${r.path}`))].sort();
const lines = (token: string | null): Record<string, string> =>
  token === null ? {} : { authorization: `Bearer ${token}` };
const HASH = "a".repeat(64);

describe("the operators' listener", () => {
  /** Anyone may have the page's shell: it holds nothing. */
  const OPEN = ["GET /", "GET /page.js"];
  /** Each with its parameters filled in. */
  const GUARDED: Readonly<Record<string, string>> = {
    "ALL /api/serve/applications": "PATCH /api/serve/applications",
    "ALL /api/serve/applications/": "PATCH /api/serve/applications/",
    "DELETE /api/serve/applications": "DELETE /api/serve/applications",
    "DELETE /api/serve/applications/": "DELETE /api/serve/applications/",
    "DELETE /api/skein/api-keys/:id": "DELETE /api/skein/api-keys/x",
    "DELETE /api/skein/applications/:name": "DELETE /api/skein/applications/a",
    "DELETE /api/skein/applications/:name/api-keys": "DELETE /api/skein/applications/none/api-keys",
    "DELETE /api/skein/join-tokens/:id": "DELETE /api/skein/join-tokens/x",
    "GET /api/ray/version": "GET /api/ray/version",
    "GET /api/serve/applications": "GET /api/serve/applications",
    "GET /api/serve/applications/": "GET /api/serve/applications/",
    "GET /api/skein/api-keys": "GET /api/skein/api-keys",
    "GET /api/skein/join-tokens": "GET /api/skein/join-tokens",
    "GET /api/skein/logs/:app/:deployment?": "GET /api/skein/logs/a/b",
    "GET /api/skein/page": "GET /api/skein/page",
    "GET /api/skein/workers": "GET /api/skein/workers",
    "GET /metrics": "GET /metrics",
    "HEAD /api/skein/blobs/:sha": `HEAD /api/skein/blobs/${HASH}`,
    "POST /api/skein/callers": "POST /api/skein/callers",
    "POST /api/skein/api-keys": "POST /api/skein/api-keys",
    "POST /api/skein/join-tokens": "POST /api/skein/join-tokens",
    "POST /api/skein/shutdown": "POST /api/skein/shutdown",
    "POST /api/skein/workers/:id/approve": "POST /api/skein/workers/w/approve",
    "POST /api/v1/applications/:app/deployments/:deployment/scale": "POST /api/v1/applications/a/deployments/b/scale",
    "PUT /api/serve/applications": "PUT /api/serve/applications",
    "PUT /api/serve/applications/": "PUT /api/serve/applications/",
    "PUT /api/skein/applications/:name": "PUT /api/skein/applications/a",
    "PUT /api/skein/blobs/:sha": `PUT /api/skein/blobs/${HASH}`,
  };

  it("has these routes and no others", () => {
    expect([...Object.keys(GUARDED), ...OPEN].sort()).toEqual(routesOf(operatorApi({} as OperatorApi)));
  });

  it.each([...Object.values(GUARDED), "GET /nothing", "GET /api/serve/applications/%2e%2e/x"])(
    "%s takes the admin token only, and says the same to everyone else",
    async (asked) => {
      const [method = "", path = ""] = asked.split(" ");
      const refusals = new Set<string>();
      for (const kind of KINDS) {
        const answer = await real.call(path, {
          method,
          token: credentials[kind],
          ...(method === "PUT" || method === "POST" ? { body: "x" } : {}),
        });
        const text = await answer.text();
        const names = [...answer.headers.keys()];
        expect(names.filter((name) => name.startsWith("access-control"))).toEqual([]);
        if (kind === "admin token") expect(answer.status).not.toBe(401);
        else refusals.add(JSON.stringify([answer.status, text, answer.headers.get("www-authenticate"), names.sort()]));
      }
      const body = method === "HEAD" ? "" : "401: Unauthorized";
      expect([...refusals].map((text) => (JSON.parse(text) as unknown[]).slice(0, 3))).toEqual([[401, body, "Bearer"]]);
    },
  );

  it.each(OPEN)("%s is open, and holds no secret", async (asked) => {
    for (const kind of KINDS) {
      const answer = await real.call(asked.split(" ")[1]!, { token: credentials[kind] });
      expect(answer.status).toBe(200);
      const text = await answer.text();
      for (const secret of Object.values(credentials)) if (secret !== null) expect(text).not.toContain(secret);
    }
  });
});

describe("the mesh's listener", () => {
  const OPEN: Readonly<Record<string, string>> = { "GET /join": "/join", "GET /join/*": "/join/index.html" };
  /** With a worker's ticket there is no such blob or model. */
  const GUARDED: Readonly<Record<string, string>> = {
    "GET /blobs/:sha": `/blobs/${HASH}`,
    "GET /models/:name": "/models/x",
    "GET /models/:name/:file": "/models/x/config.json",
  };

  it("has these routes and no others", () => {
    const stub = { advertised: () => [] } as unknown as MeshHttp;
    expect([...Object.keys(GUARDED), ...Object.keys(OPEN)].sort()).toEqual(routesOf(meshHttp(stub)));
  });

  it.each(Object.values(GUARDED))("GET %s takes a worker's ticket only", async (path) => {
    for (const kind of KINDS) {
      const answer = await real.mesh(path, { headers: lines(credentials[kind]) });
      const expected = kind === "worker ticket" ? [404, "404: Not Found"] : [401, "401: Unauthorized"];
      expect([kind, answer.status, await answer.text()]).toEqual([kind, ...expected]);
    }
  });

  it.each(Object.values(OPEN))("GET %s is open: whoever has a join link has no credential yet", async (path) => {
    for (const kind of KINDS) expect((await real.mesh(path, { headers: lines(credentials[kind]) })).status).toBe(200);
  });
});

describe("sockets of the mesh's listener", () => {
  const at = (path: string): string => `${real.ready.meshUrl.replace("http", "ws")}${path}`;
  const hello = (ticket: string): Uint8Array => {
    const batch = new FrameBatch();
    batch.add(KIND.hello, 0, 0, 0, 0, pack({ min: 1, max: 1, build: "t", features: [], ticket }));
    return batch.take();
  };
  /** The status that refuses, or the code and reason of the close after `first` was sent. */
  const outcome = (path: string, headers: Record<string, string>, first?: Uint8Array): Promise<string> =>
    new Promise((resolve) => {
      const socket = new WebSocket(at(path), { headers });
      socket.on("unexpected-response", (_request, response) => resolve(`refused ${response.statusCode}`));
      socket.on("open", () => first !== undefined && socket.send(first));
      socket.on("close", (code, reason) => resolve(`closed ${code} ${String(reason)}`));
      socket.on("error", () => {});
    });

  /** What each kind of socket says to a credential. `/control` is the next table. */
  const ROWS: Readonly<Record<string, (token: string | null) => Promise<Record<string, string>>>> = {
    control: async () => ({}),
    relay: async (token) => ({
      // To an ingress that is known but doesn't listen, and to one that isn't known.
      known: await outcome(`/relay/ingress-${real.ready.hostId}`, {}, hello(token ?? "")),
      unknown: await outcome("/relay/nobody", {}, hello(token ?? "")),
      "ticket in a header": await outcome("/relay/nobody", lines(token), hello("")),
    }),
    logs: async (token) => ({ header: await outcome("/logs/nobody", lines(token)) }),
  };

  it("are these and no others", async () => {
    expect(Object.keys(ROWS).sort()).toEqual(Object.keys(AREAS).sort());
    for (const path of ["/", "/link", "/constructor", "/__proto__/x", "/CONTROL"])
      expect(await outcome(path, lines(credentials["worker ticket"]))).toBe("refused 404");
  });

  it("relay: nobody gets further than the port without a replica's or a script's ticket, and every refusal is the same", async () => {
    const peer = new Peer(real.ready.meshUrl);
    await peer.open();
    peer.join(real.ready.localJoinToken, { id: "head", host: real.ready.hostId });
    await peer.next("welcome");
    const ingress = `ingress-${real.ready.hostId}`;
    const report = { ingress, state: "ready", urls: ["ws://127.0.0.1:1/link"], http: null, grpc: null, pid: 1 };
    peer.send({ type: "report", held: null, replicas: [], ingress: report });
    await peer.next("assignment");
    const refused = "closed 1008 refused";
    for (const kind of KINDS)
      expect([kind, await ROWS["relay"]!(credentials[kind])]).toEqual([
        kind,
        {
          known: kind === "replica ticket" || kind === "caller ticket" ? "closed 1013 ingress not reached" : refused,
          unknown: refused,
          "ticket in a header": refused,
        },
      ]);
    peer.send({ type: "leave", reason: "test" });
  });

  it("logs: a worker's ticket only, and only the worker that was asked", async () => {
    for (const kind of KINDS)
      expect([kind, await ROWS["logs"]!(credentials[kind])]).toEqual([
        kind,
        { header: kind === "worker ticket" ? "closed 1008 nobody waits for this log" : "refused 401" },
      ]);
  });
});

describe("joining", () => {
  const REFUSED = {
    type: "refused",
    code: "UNAUTHENTICATED",
    message: "Joining was refused. Ask the operator of this mesh for a valid join token.",
  };
  const GOOD: Readonly<Record<string, readonly Kind[]>> = {
    "worker w1 on h1": ["join token", "worker ticket"],
    "worker w2 on h1": ["join token"],
    "worker w1 on h2": ["join token"],
    "ingress ingress-h1 on h1": ["ingress ticket"],
    "ingress ingress-h2 on h1": [],
    "ingress ingress-h1 on h2": [],
    "ingress w1 on h1": [],
    "worker ingress-h1 on h1": ["join token"],
  };

  it.each(Object.keys(GOOD))("as %s: who has the credential is welcome, everyone else is told the same", async (as) => {
    const [role = "", id = "", , host = ""] = as.split(" ");
    for (const kind of KINDS) {
      const peer = new Peer(real.ready.meshUrl);
      await peer.open();
      peer.join(credentials[kind] ?? "", { role, id, host, incarnation: Date.now() });
      if (GOOD[as]!.includes(kind)) expect([kind, (await peer.next("welcome")).type]).toEqual([kind, "welcome"]);
      else expect([kind, await peer.next("refused"), await peer.closed]).toEqual([kind, REFUSED, 1008]);
      if (!GOOD[as]!.includes(kind)) expect(peer.heard).toEqual([]);
      peer.socket.close();
    }
  });
});

describe("control messages", () => {
  const VERSION = null;
  /** A whole message of each type, and who may send it; "first": only as the first one. */
  const ROWS: Readonly<Record<string, { message: object; by: readonly string[] }>> = {
    join: {
      message: {
        type: "join",
        protocol: { min: 1, max: 1 },
        build: "t",
        role: "worker",
        credential: "x",
        id: "w1",
        host: "h1",
        incarnation: 1,
      },
      by: [],
    },
    report: { message: { type: "report", held: VERSION, replicas: [], ingress: null }, by: ["worker"] },
    stats: { message: { type: "stats", held: VERSION, deployments: [] }, by: ["ingress"] },
    engines: { message: { type: "engines", replicas: [] }, by: ["worker"] },
    leave: { message: { type: "leave", reason: "test" }, by: ["worker", "ingress"] },
    pong: { message: { type: "pong" }, by: ["worker", "ingress"] },
  };

  it("are these and no others", () => {
    const types = toCoordinatorSchema.options.map((option) => option.shape.type.value);
    expect(Object.keys(ROWS).sort()).toEqual([...types].sort());
  });

  it.each(Object.keys(ROWS).flatMap((type) => ["stranger", "worker", "ingress"].map((by) => [type, by] as const)))(
    "%s of a %s",
    async (type, by) => {
      const peer = new Peer(real.ready.meshUrl);
      await peer.open();
      const { message, by: senders } = ROWS[type]!;
      if (by !== "stranger") {
        const named = by === "worker" ? { id: WORKER.worker } : { role: "ingress", id: INGRESS.ingress };
        peer.join(credentials[`${by as "worker" | "ingress"} ticket`]!, {
          ...named,
          host: "h1",
          incarnation: Date.now(),
        });
        await peer.next("welcome");
      }
      peer.send(message);
      if (senders.includes(by)) {
        // Taken: the connection goes on (or ends in order), and nothing is refused until it is closed.
        if (type === "leave") expect(await peer.closed).toBe(1000);
        else await expect(Promise.race([peer.next("refused"), pinged(peer)])).resolves.toMatchObject({ type: "ping" });
      } else {
        const code = type === "join" && by === "stranger" ? "UNAUTHENTICATED" : "PROTOCOL";
        expect([await peer.next("refused"), await peer.closed]).toMatchObject([{ code }, 1008]);
      }
      peer.socket.close();
    },
  );

  /** The coordinator goes on talking to a peer that it keeps. */
  const pinged = (peer: Peer): Promise<{ type: string }> => peer.next("ping");
});
