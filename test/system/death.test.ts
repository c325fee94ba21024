/** Processes die by kill -9, each in its turn, while requests go on. */
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { eventually, SystemMesh } from "./mesh.ts";
import { Traffic } from "./traffic.ts";

const APPS = fileURLToPath(new URL("./apps", import.meta.url));
let mesh: SystemMesh | null = null;
afterEach(async () => {
  await mesh?.stop();
  mesh = null;
});

async function serving(workers: number, replicas: number): Promise<{ mesh: SystemMesh; base: string }> {
  mesh = await SystemMesh.start({ workers, appDir: APPS });
  await mesh.deploy([{ name: "who", import_path: "who:app", deployments: [{ name: "Who", num_replicas: replicas }] }]);
  return { mesh, base: await mesh.clientUrl() };
}

const pids = async (m: SystemMesh): Promise<(number | null)[]> =>
  (await m.replicas())
    .filter((r) => r.state === "RUNNING")
    .map((r) => r.pid)
    .sort((a, b) => Number(a) - Number(b));

describe("kill -9", () => {
  it("of a replica: no request fails while another one lives, and there are two again", async () => {
    const { mesh, base } = await serving(1, 2);
    const traffic = new Traffic(mesh, base);
    const [victim] = await pids(mesh);
    process.kill(victim ?? 0, "SIGKILL");
    await eventually(async () => {
      const now = await pids(mesh);
      return now.length === 2 && !now.includes(victim ?? 0);
    }, "a new replica has taken its place");
    await eventually(() => traffic.count > 20, "requests flow");
    await traffic.stop();
    expect(traffic.failed).toEqual([]);
    expect(traffic.broken).toEqual([]);
  });

  it("of the only replica: requests wait for the next one", async () => {
    const { mesh, base } = await serving(1, 1);
    const [victim] = await pids(mesh);
    process.kill(victim ?? 0, "SIGKILL");
    await eventually(async () => (await mesh.fetch("/", { base })).status === 200, "it answers again");
    expect(await pids(mesh)).not.toContain(victim);
  });

  it("of the coordinator: every replica keeps its pid, and requests flow all the time", async () => {
    const { mesh, base } = await serving(2, 2);
    const before = await pids(mesh);
    const traffic = new Traffic(mesh, base);
    process.kill(mesh.coordinator.pid, "SIGKILL");
    await mesh.coordinator.exit;
    const flowed = traffic.count;
    await eventually(() => traffic.count > flowed + 50, "requests flow without a coordinator");
    await mesh.startCoordinator();
    await eventually(async () => {
      const { skein, applications } = await mesh.status();
      return (
        !skein.recovering &&
        applications["who"]?.status === "RUNNING" &&
        skein.workers.every((w) => w.status === "ALIVE") &&
        skein.workers.length === 2
      );
    }, "the coordinator knows everything again");
    expect(await pids(mesh)).toEqual(before);
    await traffic.stop();
    expect(traffic.failed).toEqual([]);
    expect(traffic.broken).toEqual([]);
    // It is in charge: a change is carried out.
    await mesh.deploy([{ name: "who", import_path: "who:app", deployments: [{ name: "Who", num_replicas: 3 }] }]);
    await eventually(async () => (await pids(mesh)).length === 3, "a third replica");
    expect(await pids(mesh)).toEqual(expect.arrayContaining(before));
  });

  it("of the ingress: it serves again on the same port, without the coordinator", async () => {
    const { mesh, base } = await serving(1, 2);
    const before = await pids(mesh);
    // A slow disk takes its time.
    await eventually(() => mesh.remembered() === 2, "the ingress has both replicas on disk");
    process.kill(mesh.coordinator.pid, "SIGKILL");
    await mesh.coordinator.exit;
    process.kill(mesh.ingressPid(), "SIGKILL");
    await eventually(
      async () => (await mesh.fetch("/", { base })).status === 200,
      "the new ingress answers at the old address",
    );
    await mesh.startCoordinator();
    await eventually(async () => !(await mesh.status()).skein.recovering, "the coordinator is back");
    expect(await pids(mesh)).toEqual(before);
  });

  it("of nobody: an ingress that hangs for good is killed by its agent, and the next one serves on the same port", async () => {
    const { mesh, base } = await serving(1, 2);
    const before = await pids(mesh);
    const hung = mesh.ingressPid();
    process.kill(hung, "SIGSTOP");
    await eventually(() => !mesh.processes().has(hung), "it was killed");
    await eventually(
      async () => (await mesh.fetch("/", { base })).status === 200,
      "the new ingress answers at the old address",
    );
    expect(mesh.ingressPid()).not.toBe(hung);
    expect(await pids(mesh)).toEqual(before);
  });

  it("of an agent: its children die with it, the other worker serves, and it comes back as the same worker", async () => {
    const { mesh, base } = await serving(2, 2);
    // The one without the ingress: losing that one as well is another test.
    const ingress = Object.values((await mesh.status()).proxies)[0]?.worker_id;
    const index = mesh.agents.findIndex((a) => a.ready.workerId !== ingress);
    const agent = mesh.agents[index]!;
    const replica = (await mesh.replicas()).find((r) => r.worker_id === agent.ready.workerId);
    const traffic = new Traffic(mesh, base);
    process.kill(agent.pid, "SIGKILL");
    await eventually(() => !mesh.processes().has(replica?.pid ?? 0), "its replica has ended");
    const again = await mesh.startAgent(index);
    expect(again.ready.workerId).toBe(agent.ready.workerId);
    await eventually(async () => {
      const running = (await mesh.replicas()).filter((r) => r.state === "RUNNING");
      return running.length === 2 && !running.some((r) => r.pid === replica?.pid);
    }, "there are two replicas again");
    await traffic.stop();
    expect(traffic.failed).toEqual([]);
    expect(traffic.broken).toEqual([]);
  });

  it("of the agent that has the ingress: both are back", async () => {
    const { mesh } = await serving(1, 1);
    process.kill(mesh.agents[0]?.pid ?? 0, "SIGKILL");
    await eventually(
      () => ![...mesh.processes().values()].some((c) => /ingress|replica/.test(c)),
      "ingress and replica have ended",
    );
    await mesh.startAgent(0);
    await eventually(
      async () => (await mesh.fetch("/", { base: await mesh.clientUrl() })).status === 200,
      "it answers again",
    );
    expect((await mesh.fetch("/", { base: await mesh.clientUrl() })).text).toContain("who#Who#");
  });
});
