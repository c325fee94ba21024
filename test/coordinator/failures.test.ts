/** Stories of what fails, starts again or scales, on a virtual clock. Recordings in brackets. */
import { describe, expect, it } from "vitest";
import { FakeMesh } from "./fake-mesh.ts";
import { manifest } from "./manifest.ts";
import { one, running } from "./running.ts";

describe("what fails", () => {
  it.each([
    [3, 7, 9],
    [1, 2, 2],
    [1, 20, 3],
  ])(
    "%i replicas, max_constructor_retry_count %i: %i constructor runs, then DEPLOY_FAILED [C121, C088]",
    async (replicas, retries, runs) => {
      const mesh = new FakeMesh();
      mesh.worker("a");
      mesh.behaviour = () => ({ startupError: "RuntimeError: always" });
      await mesh.deploy([{ manifest: one({ num_replicas: replicas, max_constructor_retry_count: retries }) }]);
      await mesh.run(5_000);
      expect(mesh.starts).toHaveLength(runs);
      const d = mesh.status.applications["default"]!.deployments["D"]!;
      expect(d.message.split("\n")[0]).toBe(
        `The deployment failed to start ${runs} times in a row. This may be due to a problem with its constructor or initial health check failing. See controller logs for details. Error:`,
      );
      expect(d).toMatchObject({ status: "DEPLOY_FAILED", status_trigger: "REPLICA_STARTUP_FAILED", replicas: [] });
    },
  );

  it("a replica that can't be placed waits, with each worker's reason; the message is Ray's after 30 s [C122]", async () => {
    const mesh = new FakeMesh();
    mesh.worker("a");
    await mesh.deploy([
      { name: "gpu", manifest: manifest({ NeedsGpu: { ray_actor_options: { num_cpus: 0, num_gpus: 1 } } }) },
    ]);
    await mesh.run(300);
    const at = () => mesh.status.applications["gpu"]!.deployments["NeedsGpu"]!;
    expect(at()).toMatchObject({
      status: "UPDATING",
      status_trigger: "CONFIG_UPDATE_STARTED",
      replicas: [{ state: "STARTING", message: "No worker has room. a: needs 1 GPU, has 0 free of 0." }],
    });
    await mesh.run(31_000);
    expect(at().message).toMatch(
      /^Deployment 'NeedsGpu' in application 'gpu' has 1 replicas that have taken more than 30s to be scheduled\. .*Resources required for each replica: {"GPU": 1}, total resources available: {"CPU": 8}/,
    );
    expect(mesh.status.applications["gpu"]).toMatchObject({ status: "DEPLOYING", message: "" });
    mesh.worker("b", { gpus: 1 });
    await mesh.run(500);
    expect(mesh.status.applications["gpu"]?.status).toBe("RUNNING");
  });

  it("max_replicas_per_node leaves the second waiting [C129]", async () => {
    const mesh = new FakeMesh();
    mesh.worker("a");
    await mesh.deploy([{ manifest: one({ num_replicas: 2, max_replicas_per_node: 1 }) }]);
    await mesh.run(400);
    expect(mesh.states("default")).toEqual(["RUNNING", "STARTING"]);
    mesh.worker("b");
    await mesh.run(400);
    expect(mesh.states("default")).toEqual(["RUNNING", "RUNNING"]);
  });

  it("a replica that dies is replaced at once: UNHEALTHY, then HEALTHY/UNSPECIFIED [C012]", async () => {
    const mesh = await running();
    const a = mesh.workers.get("a")!;
    a.kill([...a.held.keys()][0]!);
    await mesh.run(30);
    expect(mesh.status.applications["default"]).toMatchObject({
      status: "UNHEALTHY",
      message: "The deployments ['D'] are UNHEALTHY.",
      deployments: {
        D: {
          status: "UNHEALTHY",
          status_trigger: "HEALTH_CHECK_FAILED",
          message:
            "A replica's health check failed. This deployment will be UNHEALTHY until the replica recovers or a new deploy happens.",
        },
      },
    });
    await mesh.run(300);
    expect(mesh.status.applications["default"]).toMatchObject({
      status: "RUNNING",
      deployments: { D: { status: "HEALTHY", status_trigger: "UNSPECIFIED", message: "" } },
    });
    expect(mesh.starts).toHaveLength(2);
  });

  it("a worker that crashes and comes back is noticed at its report; one that stays away after five seconds", async () => {
    const mesh = await running({ num_replicas: 2 }, 2);
    const a = mesh.workers.get("a")!;
    a.crash();
    a.join();
    await mesh.run(200);
    expect(mesh.states("default")).toEqual(["RUNNING", "RUNNING"]);
    mesh.workers.get("b")!.crash();
    await mesh.run(4_500);
    expect(mesh.status.skein.workers.find((w) => w.worker_id === "b")?.status).toBe("LOST");
    expect(mesh.starts).toHaveLength(3);
    await mesh.run(1_000);
    expect(mesh.states("default")).toEqual(["RUNNING", "RUNNING"]);
    expect(mesh.starts).toHaveLength(4);
  });

  it("a broken link of less than five seconds changes nothing", async () => {
    const mesh = await running();
    const a = mesh.workers.get("a")!;
    a.disconnect();
    await mesh.run(3_000);
    expect(mesh.states("default")).toEqual(["RUNNING"]);
    a.join();
    await mesh.run(6_000);
    expect(mesh.starts).toHaveLength(1);
    expect(mesh.status.applications["default"]?.status).toBe("RUNNING");
  });
});

it("a replica that was taken back before its worker heard of it leaves no trace", async () => {
  const mesh = new FakeMesh();
  mesh.worker("a");
  await mesh.run(50);
  mesh.loss = 1;
  await mesh.deploy([{ manifest: one() }]);
  mesh.loss = 0;
  await mesh.delete("default");
  expect(Object.values(mesh.loop.state.replicas).map((r) => [r.phase, r.seen])).toEqual([["stopping", false]]);
  await mesh.run(1_500);
  expect(mesh.loop.state.replicas).toEqual({});
  expect(mesh.status.applications).toEqual({});
});

it("the end of an older process's connection says nothing about the newer one", async () => {
  const mesh = await running();
  const a = mesh.workers.get("a")!;
  a.incarnation = 5;
  a.join();
  await mesh.loop.dispatch({ type: "disconnected", worker: "a" as never, incarnation: 0, nowMs: mesh.nowMs });
  expect(mesh.status.skein.workers[0]?.status).toBe("ALIVE");
});

describe("a coordinator that starts again", () => {
  it("adopts every replica: no start, no stop, same words in the end", async () => {
    const mesh = await running({ num_replicas: 3 }, 2);
    const pids = mesh.status.applications["default"]!.deployments["D"]!.replicas.map((r) => String(r.pid)).sort();
    mesh.startCoordinator();
    expect(mesh.status.skein.recovering).toBe(true);
    const assignments = [...mesh.workers.values()].map((w) => w.assignment);
    mesh.workers.get("a")!.join();
    await mesh.run(3_000);
    expect(mesh.status.skein.recovering).toBe(true);
    expect([...mesh.workers.values()].map((w) => w.assignment)).toEqual(assignments);
    expect(Object.values(mesh.loop.state.replicas).map((r) => [r.worker, r.phase])).toEqual(
      mesh.workers.get("a")!.assignment!.replicas.map(() => ["a", "running"]),
    );
    mesh.workers.get("b")!.join();
    await mesh.run(500);
    expect(mesh.status.skein.recovering).toBe(false);
    expect(mesh.status.applications["default"]).toMatchObject({
      status: "RUNNING",
      deployments: { D: { status: "HEALTHY" } },
    });
    expect(mesh.status.applications["default"]!.deployments["D"]!.replicas.map((r) => String(r.pid)).sort()).toEqual(
      pids,
    );
    expect(mesh.starts).toHaveLength(3);
  });

  it("waits ten seconds for a worker that doesn't come back, then replaces what it had", async () => {
    const mesh = await running({ num_replicas: 2 }, 2);
    mesh.startCoordinator();
    mesh.workers.get("a")!.join();
    await mesh.run(9_000);
    expect(mesh.starts).toHaveLength(2);
    await mesh.run(2_000);
    expect(mesh.starts).toHaveLength(3);
    expect(mesh.states("default")).toEqual(["RUNNING", "RUNNING"]);
    expect(mesh.desired.knownWorkers).toEqual(["a"]);
  });

  it("stops what was deleted while it was away from a worker", async () => {
    const mesh = await running({}, 1);
    const a = mesh.workers.get("a")!;
    a.disconnect();
    await mesh.run(6_000);
    await mesh.delete("default");
    expect(mesh.status.applications).toEqual({});
    a.join();
    await mesh.run(500);
    expect(a.held.size).toBe(0);
    expect(mesh.loop.state.replicas).toEqual({});
  });
});

describe("scaling", () => {
  it("by the scale API leaves the status alone: 1, 3, 0, 1 [C071]", async () => {
    const mesh = new FakeMesh();
    mesh.worker("a");
    await mesh.deploy([{ name: "e", manifest: one(), external_scaler_enabled: true }]);
    await mesh.run(300);
    for (const target of [3, 0, 1]) {
      await mesh.loop.dispatch({ type: "scaled", app: "e" as never, deployment: "D", replicas: target });
      expect(mesh.status.applications["e"]?.deployments["D"]).toMatchObject({
        status: "HEALTHY",
        status_trigger: "CONFIG_UPDATE_COMPLETED",
        target_num_replicas: target,
      });
      await mesh.run(300);
      expect(mesh.states("e")).toEqual(Array(target).fill("RUNNING"));
    }
    expect(mesh.status.applications["e"]?.status).toBe("RUNNING");
  });

  it("by target_capacity: 50 % of four is two, anything above zero keeps one (case 76)", async () => {
    const mesh = await running({ num_replicas: 4 });
    for (const [capacity, replicas] of [
      [50, 2],
      [1, 1],
      [0, 0],
      [null, 4],
    ] as const) {
      await mesh.deploy([{ manifest: one({ num_replicas: 4 }) }], { target_capacity: capacity });
      await mesh.run(400);
      expect(mesh.states("default")).toHaveLength(replicas);
      expect(mesh.status.target_capacity).toBe(capacity);
    }
  });

  it("down stops what doesn't serve yet before what does", async () => {
    const mesh = await running({ num_replicas: 2 });
    const serving = [...mesh.workers.get("a")!.held.keys()];
    await mesh.deploy([{ manifest: one({ num_replicas: 4 }) }]);
    await mesh.run(20);
    await mesh.deploy([{ manifest: one({ num_replicas: 2 }) }]);
    await mesh.run(300);
    expect([...mesh.workers.get("a")!.held.keys()].sort()).toEqual(serving.sort());
    expect(mesh.status.applications["default"]?.deployments["D"]).toMatchObject({
      status: "HEALTHY",
      status_trigger: "DOWNSCALE_COMPLETED",
    });
  });
});
