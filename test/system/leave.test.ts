/** Workers, replicas and versions that go in good order, under requests; and ones that won't go. */
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { eventually, SystemMesh } from "./mesh.ts";
import { Traffic } from "./traffic.ts";

const APPS = fileURLToPath(new URL("./apps", import.meta.url));
let mesh: SystemMesh | null = null;
// Asserts that no process and no port is left.
afterEach(async () => {
  await mesh?.stop();
  mesh = null;
});

const who = (numReplicas: number, more: object = {}) => ({
  name: "who",
  import_path: "who:app",
  deployments: [{ name: "Who", num_replicas: numReplicas, ...more }],
});

describe("in good order", () => {
  it("a worker leaves: its replicas drain, others are started elsewhere, no request fails", async () => {
    mesh = await SystemMesh.start({ workers: 2, appDir: APPS });
    await mesh.deploy([who(2)]);
    const ingress = Object.values((await mesh.status()).proxies)[0]?.worker_id;
    const leaving = mesh.agents.find((agent) => agent.ready.workerId !== ingress)!;
    const traffic = new Traffic(mesh, await mesh.clientUrl());
    await eventually(() => traffic.count > 20, "requests flow");
    leaving.child.send({ type: "stop" });
    expect(await leaving.exit).toBe(0);
    await eventually(async () => {
      const replicas = (await mesh!.replicas()).filter((r) => r.state === "RUNNING");
      return replicas.length === 2 && replicas.every((r) => r.worker_id === ingress);
    }, "both replicas are on the worker that stayed");
    await traffic.stop();
    expect(traffic.failed).toEqual([]);
    expect(traffic.broken).toEqual([]);
  });

  it("a new version replaces the old one, replica by replica, and no request fails", async () => {
    mesh = await SystemMesh.start({ workers: 1, appDir: APPS });
    await mesh.deploy([who(2)]);
    const before = (await mesh.replicas()).map((r) => r.pid);
    const traffic = new Traffic(mesh, await mesh.clientUrl());
    await eventually(() => traffic.count > 20, "requests flow");
    // Another reservation: these replicas can't be changed in place.
    await mesh.deploy([who(2, { ray_actor_options: { num_cpus: 0.25 } })]);
    await eventually(async () => {
      const running = (await mesh!.replicas()).filter((r) => r.state === "RUNNING");
      return running.length === 2 && running.every((r) => !before.includes(r.pid));
    }, "only new replicas run");
    await traffic.stop();
    expect(traffic.failed).toEqual([]);
    expect(traffic.broken).toEqual([]);
  });

  it("an ingress whose host has no replica any more says that it is drained; the head's is ready all the same", async () => {
    let joinToken = "";
    mesh = await SystemMesh.start({
      workers: 1,
      appDir: APPS,
      agent: (index) => (index === 0 ? {} : { hostId: "another-host", joinToken }),
    });
    const made = await mesh.api("POST", "/api/skein/join-tokens", { max_uses: 1 });
    joinToken = (JSON.parse(made.text) as { token: string }).token;
    await mesh.startAgent(1);
    await mesh.deploy([who(2, { max_replicas_per_node: 1 })]);
    const targets = async (): Promise<number[]> => {
      const groups = (await mesh!.status()).target_groups;
      return groups.find((group) => group.protocol === "HTTP")?.targets.map((target) => target.port) ?? [];
    };
    await eventually(async () => (await targets()).length === 2, "clients may go to either host");
    const ports = await targets();
    const health = (port: number) => mesh!.fetch("/-/healthz", { base: `http://127.0.0.1:${port}` });
    await eventually(
      async () => (await Promise.all(ports.map(health))).every(({ status }) => status === 200),
      "both are ready",
    );
    await mesh.deploy([]);
    await eventually(async () => (await targets()).length === 1, "clients are sent to the head only");
    const [head] = await targets();
    const drained = ports.find((port) => port !== head)!;
    await eventually(async () => (await health(drained)).status === 503, "it says so");
    expect(await health(drained)).toMatchObject({ text: "This node is being drained." });
    expect(await health(head!)).toMatchObject({ status: 200, text: "success" });
  });

  it("a replica that never gives its thread back is killed when the mesh stops", async () => {
    mesh = await SystemMesh.start({ workers: 1, appDir: APPS });
    await mesh.deploy([{ name: "stuck", import_path: "who:stuck" }]);
    const pid = (await mesh.replicas())[0]?.pid ?? 0;
    const asked = mesh.fetch("/").catch((error: Error) => error);
    const before = mesh.cpuSeconds(pid);
    await eventually(() => mesh!.cpuSeconds(pid) > before + 1, "it spins");
    await mesh.stop();
    mesh = null;
    await asked;
  });
});
