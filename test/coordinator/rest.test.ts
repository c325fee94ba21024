/** The operators' API over real sockets: Ray's routes against the recordings, then Skein's own. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canonicalJson, sha256Hex } from "../../protocol/artefact.ts";
import type { InstanceDetails } from "../../protocol/status.ts";
import { manifest } from "./manifest.ts";
import { Peer, startReal, type Real } from "./real.ts";

interface Case {
  case: string;
  json: unknown;
  status: number;
  body: string;
}
interface ScaleCase {
  path: string;
  body: string;
  status: number;
  error: string;
}
const recorded = JSON.parse(
  readFileSync(new URL("../contract/rest/validation.json", import.meta.url), "utf8"),
) as Record<"C066" | "C167" | "C171", { cases: Case[] }> & { C073: { cases: ScaleCase[] } };

const APPS = "/api/serve/applications/";
let real: Real;
beforeAll(async () => {
  real = await startReal();
});
afterAll(() => real.stop());

const put = (body: unknown, to: Real = real): Promise<Response> =>
  to.call(APPS, { method: "PUT", body: typeof body === "string" ? body : JSON.stringify(body) });
const get = async (to: Real = real, query = ""): Promise<InstanceDetails> =>
  (await (await to.call(APPS + query)).json()) as InstanceDetails;

/** Uploads what a client would have built, and returns the artefact's name. */
async function upload(to: Real, made: ReturnType<typeof manifest>): Promise<string> {
  const bundle = "export const app = 1;";
  const hash = await sha256Hex(bundle);
  const text = canonicalJson({ ...made, bundles: { node: hash, browser: hash } });
  const artefact = await sha256Hex(text);
  for (const [name, body] of [
    [hash, bundle],
    [artefact, text],
  ] as const)
    expect((await to.call(`/api/skein/blobs/${name}`, { method: "PUT", body })).status).toBe(200);
  return artefact;
}

/** Differences that are decided: Ray's words come from pydantic; only status, count and paths are compared, and these not at all. */
const DECIDED: Readonly<Record<string, string>> = {
  "http port -1 and bad app": "a port out of range is an error of its own here",
  "ssl key without cert": "Ray checks it when it starts; here the deploy is refused with it",
};

describe.each(["C066", "C167", "C171"] as const)("recording %s", (id) => {
  it.each(recorded[id].cases.filter((c) => DECIDED[c.case] === undefined).map((c) => [c.case, c] as const))(
    "%s",
    async (_name, c) => {
      const answer = await put(c.json);
      const text = await answer.text();
      expect({ status: answer.status, text }).toMatchObject({ status: c.status });
      if (c.status !== 400) return;
      expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
      expect(text).toMatch(/^\d+ validation errors? for ServeDeploySchema\n/);
      const path = /^(applications\.0\.[\w.]+)$/m.exec(c.body)?.[1];
      if (path !== undefined) expect(text).toContain(path);
      const own =
        /(Found (?:multiple|duplicate)[^[]*?\.) \[/.exec(c.body)?.[1] ??
        /(Application names must be nonempty\.)/.exec(c.body)?.[1];
      if (own !== undefined) expect(text).toContain(own);
    },
  );
});

it("recording C073: the scale endpoint's errors", async () => {
  const artefact = await upload(real, manifest({ Echo: {} }));
  expect(
    (
      await put({
        applications: [
          { name: "e", route_prefix: "/e", import_path: "m:app", artefact, external_scaler_enabled: true },
          { name: "e2", route_prefix: "/e2", import_path: "m:app", artefact },
        ],
      })
    ).status,
  ).toBe(200);
  for (const c of recorded.C073.cases) {
    const answer = await real.call(c.path, { method: "POST", body: c.body });
    const { error } = (await answer.json()) as { error: string };
    expect([c.path, c.body, answer.status]).toEqual([c.path, c.body, c.status]);
    expect(error.split(" [")[0]?.split("\n")[0]).toBe(c.error.split(" [")[0]?.split("\n")[0]);
  }
  const good = await real.call("/api/v1/applications/e/deployments/Echo/scale", {
    method: "POST",
    body: '{"target_num_replicas": 3}',
  });
  expect([good.status, await good.json()]).toEqual([
    200,
    { message: "Scaling request received. Deployment will get scaled asynchronously." },
  ]);
  expect((await get()).applications["e"]?.deployments["Echo"]?.target_num_replicas).toBe(3);
});

it("recordings C067, X-REST-01, X-REST-02: before the first deploy, after the last, and other methods", async () => {
  const fresh = await startReal();
  expect(await get(fresh)).toMatchObject({ controller_info: {}, proxies: {}, applications: {}, target_capacity: null });
  const first = await fresh.call(APPS, { method: "DELETE" });
  expect([first.status, await first.text()]).toEqual([200, ""]);
  const empty = await put({ applications: [] }, fresh);
  expect([empty.status, await empty.text()]).toEqual([200, ""]);
  expect(await get(fresh)).toMatchObject({
    proxy_location: "EveryNode",
    http_options: { host: "127.0.0.1", port: 8000, root_path: "", keep_alive_timeout_s: 90 },
    applications: {},
  });
  expect((await fresh.call(APPS, { method: "DELETE" })).status).toBe(200);
  expect(await get(fresh)).toMatchObject({ controller_info: {}, http_options: null, applications: {} });
  for (const method of ["POST", "PATCH"]) {
    const answer = await fresh.call(APPS, { method, body: "{}" });
    expect([answer.status, await answer.text()]).toEqual([405, "405: Method Not Allowed"]);
  }
  const missing = await fresh.call(`${APPS}default/`);
  expect([missing.status, await missing.text()]).toEqual([404, "404: Not Found"]);
  await fresh.stop();
});

describe("a deploy", () => {
  it("that has to be built is answered at once and fails with the builder's words", async () => {
    const fresh = await startReal();
    expect(
      (
        await put(
          { applications: [{ name: "no-module", route_prefix: "/no", import_path: "no_such_module:app" }] },
          fresh,
        )
      ).status,
    ).toBe(200);
    await expect.poll(async () => (await get(fresh)).applications["no-module"]?.status).toBe("DEPLOY_FAILED");
    expect((await get(fresh)).applications["no-module"]).toMatchObject({
      message: "Deploying app 'no-module' failed with exception:\nno module of that name",
      route_prefix: null,
      deployments: {},
      source: "declarative",
      deployed_app_config: { name: "no-module", route_prefix: "/no", import_path: "no_such_module:app" },
    });
    await fresh.stop();
  });

  it("warns in its answer of what is ignored", async () => {
    const fresh = await startReal();
    const app = { import_path: "m:app", artefact: await upload(fresh, manifest({ Echo: {} })) };
    expect(await (await put({ applications: [app], http_options: { port: 8901 } }, fresh)).text()).toBe("");
    const answer = await put(
      {
        applications: [{ ...app, autoscaling_policy: { x: 1 }, runtime_env: { pip: ["x"] } }],
        http_options: { port: 9999 },
        proxy_location: "HeadOnly",
      },
      fresh,
    );
    const { warnings } = (await answer.json()) as { warnings: string[] };
    expect([answer.status, warnings.length]).toEqual([200, 4]);
    expect(warnings.join("\n")).toMatch(
      /applications\[0\]\.autoscaling_policy.*http_options can't be changed.*port.*proxy_location.*runtime_env\.pip/s,
    );
    expect((await get(fresh)).http_options?.["port"]).toBe(8901);
    await fresh.stop();
  });

  it.each(["constructor", "__proto__", "toString"])(
    "by the name of %s, which every object has, is refused",
    async (name) => {
      const artefact = await upload(real, manifest({ Ok: {} }));
      expect((await put({ applications: [{ name, import_path: "m:app", artefact }] })).status).toBe(400);
      expect((await real.call(`/api/skein/applications/${name}`, { method: "DELETE" })).status).toBe(404);
      const odd = await upload(real, manifest(Object.fromEntries([[name, {}]])));
      expect((await put({ applications: [{ name: "odd", import_path: "m:app", artefact: odd }] })).status).toBe(200);
      expect((await get()).applications["odd"]).toMatchObject({
        status: "DEPLOY_FAILED",
        message: expect.stringContaining("reserved"),
      });
    },
  );

  it("of an artefact that isn't uploaded is refused", async () => {
    const answer = await put({ applications: [{ import_path: "m:app", artefact: "a".repeat(64) }] });
    expect([answer.status, await answer.text()]).toEqual([
      400,
      expect.stringContaining("is not here: upload its blobs"),
    ]);
  });

  it("survives the coordinator (recording C069: sources and the filter too)", async () => {
    const first = await startReal();
    const artefact = await upload(first, manifest({ Ok: {} }));
    await put({ applications: [{ name: "e", route_prefix: "/e", import_path: "m:app", artefact }] }, first);
    expect(
      (
        await first.call("/api/skein/applications/imp", {
          method: "PUT",
          body: JSON.stringify({ import_path: "m:app", route_prefix: "/imp", artefact }),
        })
      ).status,
    ).toBe(200);
    const taken = await first.call("/api/skein/applications/other", {
      method: "PUT",
      body: JSON.stringify({ import_path: "m:app", route_prefix: "/e", artefact }),
    });
    expect([taken.status, await taken.text()]).toEqual([
      400,
      expect.stringContaining('Prefix /e is being used by application \\"e\\"'),
    ]);
    await first.stop();
    const second = await startReal({ dataDir: first.dataDir, again: true });
    expect(second.admin).toBe(first.admin);
    const names = async (query: string): Promise<string[]> => Object.keys((await get(second, query)).applications);
    expect([await names(""), await names("?api_type=declarative"), await names("?api_type=IMPERATIVE")]).toEqual([
      ["e", "imp"],
      ["e"],
      ["imp"],
    ]);
    expect((await get(second)).applications["imp"]).toMatchObject({
      source: "imperative",
      deployed_app_config: null,
      docs_path: null,
      deployment_topology: { ingress_deployment: "Ok", nodes: { Ok: { is_ingress: true, outbound_deployments: [] } } },
    });
    const bad = await second.call(`${APPS}?api_type=nope`);
    expect([bad.status, await bad.text()]).toEqual([
      400,
      "Invalid 'api_type' value: nope. Must be one of: imperative, declarative",
    ]);
    expect((await second.call("/api/skein/applications/imp", { method: "DELETE" })).status).toBe(200);
    expect((await second.call("/api/skein/applications/imp", { method: "DELETE" })).status).toBe(404);
    await second.stop();
    // A run of its own begins with nothing and leaves what the mesh has alone.
    const run = await startReal({ dataDir: first.dataDir, state: "run" });
    expect((await get(run)).applications).toEqual({});
    await run.stop();
    const third = await startReal({ dataDir: first.dataDir });
    expect(Object.keys((await get(third)).applications)).toEqual(["e"]);
    await third.stop();
  });
});

it("a second coordinator on the same data directory, and a busy port, are told in one sentence", async () => {
  await expect(startReal({ dataDir: real.dataDir })).rejects.toThrow("Another coordinator uses");
  const port = Number(new URL(real.ready.operatorsUrl).port);
  await expect(startReal({ operators: { host: "127.0.0.1", port } })).rejects.toThrow(
    `Port ${port} for the operators' API is in use`,
  );
});

it("a worker joins, gets its assignment, and its log reaches a reader", async () => {
  const { operatorsUrl: _o, meshUrl, localJoinToken, hostId } = real.ready;
  await put({
    applications: [
      { name: "e", route_prefix: "/e", import_path: "m:app", artefact: await upload(real, manifest({ Echo: {} })) },
    ],
  });
  const peer = new Peer(meshUrl);
  await peer.open();
  peer.join(localJoinToken, { host: hostId });
  const welcome = await peer.next("welcome");
  peer.send({ type: "report", held: null, replicas: [], ingress: null });
  const assignment = (await peer.next("assignment")) as unknown as {
    version: object;
    replicas: { replica: string; incarnation: number; artefact: string; userConfigVersion: number }[];
    ingress: { http: object };
  };
  const spec = assignment.replicas[0]!;
  expect(spec.replica).toMatch(/^e#Echo#[a-z0-9]{8}$/);
  const headers = { authorization: `Bearer ${String(welcome["ticket"])}` };
  const range = await real.mesh(`/blobs/${spec.artefact}`, { headers: { ...headers, range: "bytes=0-0" } });
  expect([range.status, await range.text()]).toEqual([206, "{"]);
  peer.send({
    type: "report",
    held: assignment.version,
    ingress: null,
    replicas: [
      {
        replica: spec.replica,
        incarnation: spec.incarnation,
        state: "ready",
        pid: 7,
        startedAtMs: 1,
        userConfigVersion: spec.userConfigVersion,
        ongoing: 0,
      },
    ],
  });
  await expect.poll(async () => (await get()).applications["e"]?.status).toBe("RUNNING");
  const reading = real.call("/api/skein/logs/e");
  const request = await peer.next("logs");
  expect(request).toMatchObject({ replica: spec.replica, follow: false });
  const log = new Peer(meshUrl, `/logs/${String(request["reader"])}`, headers);
  await log.open();
  log.socket.send(Buffer.from("one\ntwo"));
  log.socket.close();
  expect(await (await reading).text()).toBe("one\ntwo\n");
  expect(await (await real.call("/metrics")).text()).toContain('skein_application_status{application="e"} 6');
  expect(await (await real.call("/api/skein/page")).text()).toContain("e / Echo");
  peer.send({ type: "leave", reason: "test" });
  await peer.closed;
});
