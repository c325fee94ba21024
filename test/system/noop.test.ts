/** One request through coordinator, agent, ingress and replica, all of them processes; and what a deploy that can't work says. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually, SystemMesh } from "./mesh.ts";

const APPS = fileURLToPath(new URL("./apps", import.meta.url));

describe("a mesh of two workers", () => {
  let mesh: SystemMesh;
  beforeAll(async () => {
    mesh = await SystemMesh.start({ workers: 2, appDir: APPS });
  });
  // Asserts that no process and no port is left.
  afterAll(async () => mesh.stop());

  it("serves an application by HTTP, its replicas spread, each answering", async () => {
    await mesh.deploy([{ name: "who", import_path: "who:app", deployments: [{ name: "Who", num_replicas: 2 }] }]);
    const replicas = await mesh.replicas();
    expect(replicas).toHaveLength(2);
    expect(new Set(replicas.map((r) => r.worker_id))).toEqual(new Set(mesh.agents.map((a) => a.ready.workerId)));
    const answers = await Promise.all(Array.from({ length: 200 }, () => mesh.fetch("/")));
    expect(answers.map((a) => a.status)).toEqual(Array.from({ length: 200 }, () => 200));
    const pids = new Set(answers.map((a) => (JSON.parse(a.text) as { pid: number }).pid));
    expect(pids).toEqual(new Set(replicas.map((r) => r.pid)));
  });

  it("grows and shrinks while it serves", async () => {
    const base = await mesh.clientUrl();
    await mesh.deploy([{ name: "who", import_path: "who:app", deployments: [{ name: "Who", num_replicas: 4 }] }]);
    await eventually(
      async () => (await mesh.replicas()).filter((r) => r.state === "RUNNING").length === 4,
      "four replicas run",
    );
    expect((await mesh.fetch("/", { base })).status).toBe(200);
    await mesh.deploy([{ name: "who", import_path: "who:app", deployments: [{ name: "Who", num_replicas: 1 }] }]);
    await eventually(async () => (await mesh.replicas()).length === 1, "one replica is left");
    await eventually(
      () => [...mesh.processes().values()].filter((c) => c.includes("replica-main")).length === 1,
      "one replica's process is left",
    );
    expect((await mesh.fetch("/", { base })).status).toBe(200);
  });

  it("shows what a replica printed, and follows it", async () => {
    const running = await mesh.replicas();
    const log = await mesh.api("GET", "/api/skein/logs/who");
    expect(log.status).toBe(200);
    expect(log.text).toContain("who is here");
    expect(running).toHaveLength(1);
  });

  it("says why a replica can't start, and goes on serving the others", async () => {
    const body = {
      http_options: { port: 0 },
      grpc_options: { port: 0 },
      applications: [
        { name: "who", import_path: "who:app" },
        { name: "broken", route_prefix: "/broken", import_path: "who:broken", args: { how: "throw" } },
      ],
    };
    expect((await mesh.api("PUT", "/api/serve/applications/", body)).status).toBe(200);
    await eventually(
      async () => (await mesh.status()).applications["broken"]?.status === "DEPLOY_FAILED",
      "the broken application has failed",
    );
    const { applications } = await mesh.status();
    expect(JSON.stringify(applications["broken"])).toContain("the constructor is broken");
    expect(applications["who"]?.status).toBe("RUNNING");
    expect((await mesh.fetch("/")).status).toBe(200);
  });
});
