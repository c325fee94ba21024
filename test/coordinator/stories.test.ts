/** Stories of deployments, told by the shipping loop on a virtual clock. Words and numbers are those of the recordings named in brackets. */
import { describe, expect, it } from "vitest";
import { FakeMesh, manifest } from "./fake-mesh.ts";

const one = (options: Record<string, unknown> = {}, version = 1) => manifest({ D: options }, version);

async function running(options: Record<string, unknown> = {}, workers = 1): Promise<FakeMesh> {
  const mesh = new FakeMesh();
  for (let i = 0; i < workers; i += 1) mesh.worker(String.fromCharCode(97 + i));
  await mesh.run(50);
  await mesh.deploy([{ manifest: one(options) }]);
  await mesh.run(500);
  expect(mesh.status.applications["default"]?.status).toBe("RUNNING");
  return mesh;
}

describe("a deploy", () => {
  it("goes from DEPLOYING to RUNNING, and its replicas are routed", async () => {
    const mesh = new FakeMesh();
    const a = mesh.worker("a");
    await mesh.deploy([{ manifest: one() }]);
    expect(mesh.status.applications["default"]).toMatchObject({ status: "DEPLOYING", deployments: { D: { status: "UPDATING", status_trigger: "CONFIG_UPDATE_STARTED" } } });
    await mesh.run(300);
    expect(mesh.status.applications["default"]).toMatchObject({
      status: "RUNNING", message: "", route_prefix: "/",
      deployments: { D: { status: "HEALTHY", status_trigger: "CONFIG_UPDATE_COMPLETED", target_num_replicas: 1, required_resources: { CPU: 1 } } },
    });
    expect(mesh.states("default")).toEqual(["RUNNING"]);
    expect(a.assignment?.ingress?.http?.port).toBe(8000);
    expect(a.assignment?.ingresses).toEqual([{ ingress: "ingress-host-a", host: "host-a", urls: ["ws://10.0.0.1:1/link", "ws://mesh/relay/ingress-host-a"] }]);
  });

  it("spreads replicas, and 1 -> 4 takes no more than starting them", async () => {
    const mesh = await running({}, 2);
    await mesh.deploy([{ manifest: one(), deployments: [{ name: "D", num_replicas: 4 }] }]);
    expect(mesh.status.applications["default"]?.deployments["D"]).toMatchObject({ status: "UPSCALING", status_trigger: "CONFIG_UPDATE_STARTED" });
    await mesh.run(150);
    expect(mesh.states("default")).toEqual(Array(4).fill("RUNNING"));
    expect([...mesh.workers.values()].map((w) => w.held.size)).toEqual([2, 2]);
    expect(mesh.status.applications["default"]?.deployments["D"]).toMatchObject({ status: "HEALTHY", status_trigger: "UPSCALE_COMPLETED" });
  });

  it("that is repeated as it is changes no process and no word [C104]", async () => {
    const mesh = await running();
    const before = mesh.status.applications["default"]!;
    await mesh.run(1_000);
    await mesh.deploy([{ manifest: one() }]);
    expect(mesh.status.applications["default"]).toMatchObject({ status: "RUNNING", deployments: { D: { status: "HEALTHY", status_trigger: "CONFIG_UPDATE_COMPLETED" } } });
    await mesh.run(500);
    expect(mesh.starts).toHaveLength(1);
    expect(mesh.status.applications["default"]!.last_deployed_time_s).toBeGreaterThan(before.last_deployed_time_s);
  });

  it("of a bare import path is built once; its result belongs to that deploy only", async () => {
    const mesh = new FakeMesh();
    mesh.worker("a");
    await mesh.deploy([{}]);
    await mesh.run(300);
    expect(mesh.builds).toEqual([{ app: "default", generation: 1 }]);
    expect(mesh.status.applications["default"]).toMatchObject({ status: "DEPLOYING", deployments: {}, route_prefix: null });
    await mesh.loop.dispatch({ type: "buildFailed", app: "default" as never, generation: 7, message: "late" });
    expect(mesh.status.applications["default"]?.status).toBe("DEPLOYING");
    await mesh.loop.dispatch({ type: "buildFailed", app: "default" as never, generation: 1, message: "No module named 'x'" });
    expect(mesh.status.applications["default"]).toMatchObject({ status: "DEPLOY_FAILED", message: "No module named 'x'", route_prefix: null, deployments: {} });
  });

  it("that overrides a deployment which the code doesn't have fails with the recorded words [C107]", async () => {
    const mesh = new FakeMesh();
    await mesh.deploy([{ name: "unknown-dep", route_prefix: "/u", manifest: manifest({ Ok: {} }), deployments: [{ name: "Nope", num_replicas: 2 }] }]);
    expect(mesh.status.applications["unknown-dep"]).toMatchObject({ status: "DEPLOY_FAILED", message: "Deployment 'Nope' does not exist. Available: ['Ok']", route_prefix: null, deployments: {} });
  });

  it("is refused and leaves nothing behind when the state can't be stored", async () => {
    const mesh = await running();
    mesh.saveFails = new Error("disk full");
    await expect(mesh.deploy([{ name: "two", route_prefix: "/two", manifest: one() }])).rejects.toThrow("disk full");
    expect(Object.keys(mesh.status.applications)).toEqual(["default"]);
    mesh.saveFails = null;
    await mesh.deploy([{ manifest: one() }, { name: "two", route_prefix: "/two", manifest: one() }]);
    await mesh.run(300);
    expect(mesh.status.applications["two"]?.status).toBe("RUNNING");
  });

  it("drops what it doesn't list: no route at once, DELETING while it drains, then gone; imperative ones stay [C105]", async () => {
    const mesh = new FakeMesh();
    mesh.worker("a");
    await mesh.deploy([{ name: "u", route_prefix: "/u", manifest: one() }, { name: "echo", route_prefix: "/echo", manifest: one({}, 2) }]);
    await mesh.deploy([{ name: "imp", route_prefix: "/imp", manifest: one({}, 3) }], {}, "imperative");
    await mesh.run(300);
    await mesh.deploy([{ name: "echo", route_prefix: "/echo", manifest: one({}, 2) }]);
    expect(mesh.status.applications["u"]).toMatchObject({ status: "DELETING", deployments: {} });
    await mesh.run(300);
    expect(Object.entries(mesh.status.applications).map(([name, app]) => [name, app.status, app.source])).toEqual([
      ["echo", "RUNNING", "declarative"],
      ["imp", "RUNNING", "imperative"],
    ]);
    expect(mesh.starts).toHaveLength(3);
  });
});

describe("an update", () => {
  it("of the code goes in waves: never fewer than four of five run, and no more than six exist [C164]", async () => {
    const mesh = await running({ num_replicas: 5 });
    await mesh.deploy([{ manifest: one({ num_replicas: 5 }, 2) }]);
    let [fewest, most] = [9, 0];
    await mesh.run(2_000, () => {
      const states = mesh.states("default");
      fewest = Math.min(fewest, states.filter((s) => s === "RUNNING").length);
      most = Math.max(most, states.length);
    });
    expect([fewest, most]).toEqual([4, 6]);
    expect(mesh.starts).toHaveLength(10);
    expect(mesh.status.applications["default"]?.deployments["D"]).toMatchObject({ status: "HEALTHY", status_trigger: "CONFIG_UPDATE_COMPLETED" });
  });

  it("with rolling_update_percentage 1 replaces all at once [C164]", async () => {
    const mesh = await running({ num_replicas: 5, rolling_update_percentage: 1, ray_actor_options: { num_cpus: 0 } });
    await mesh.deploy([{ manifest: one({ num_replicas: 5, rolling_update_percentage: 1, ray_actor_options: { num_cpus: 0 } }, 2) }]);
    expect(mesh.states("default")).toEqual([...Array(5).fill("STARTING"), ...Array(5).fill("STOPPING")]);
    await mesh.run(500);
    expect(mesh.states("default")).toEqual(Array(5).fill("RUNNING"));
  });

  it("from 2 to 10 replicas with new code starts the eight first, then replaces the two (case 165)", async () => {
    const mesh = await running({ num_replicas: 2, ray_actor_options: { num_cpus: 0 } });
    await mesh.deploy([{ manifest: one({ num_replicas: 10, ray_actor_options: { num_cpus: 0 } }, 2) }]);
    expect(mesh.states("default")).toEqual([...Array(2).fill("RUNNING"), ...Array(8).fill("STARTING")]);
    await mesh.run(1_000);
    expect(mesh.states("default")).toEqual(Array(10).fill("RUNNING"));
    expect(mesh.starts).toHaveLength(12);
  });

  it("of user_config keeps every process [C100]; one replica is UPDATING at a time", async () => {
    const mesh = await running({ num_replicas: 2, user_config: { v: 1 } });
    await mesh.deploy([{ manifest: one({ num_replicas: 2, user_config: { v: 1 } }), deployments: [{ name: "D", user_config: { v: 2 } }] }]);
    expect(mesh.states("default")).toEqual(["RUNNING", "UPDATING"]);
    expect(mesh.status.applications["default"]?.status).toBe("DEPLOYING");
    await mesh.run(500);
    expect(mesh.states("default")).toEqual(["RUNNING", "RUNNING"]);
    expect(mesh.starts).toHaveLength(2);
    expect([...mesh.workers.get("a")!.held.values()].map((h) => h.spec.userConfig)).toEqual([{ v: 2 }, { v: 2 }]);
  });

  it.each([
    ["max_ongoing_requests", { max_ongoing_requests: 7 }],
    ["max_queued_requests", { max_queued_requests: 9 }],
    ["health and graceful options", { health_check_period_s: 3, health_check_timeout_s: 4, graceful_shutdown_timeout_s: 3, graceful_shutdown_wait_loop_s: 1 }],
  ])("of %s keeps every process and stays RUNNING [C102]", async (_name, options) => {
    const mesh = await running();
    await mesh.deploy([{ manifest: one(), deployments: [{ name: "D", ...options }] }]);
    expect(mesh.status.applications["default"]?.status).toBe("RUNNING");
    await mesh.run(300);
    expect(mesh.starts).toHaveLength(1);
    expect(mesh.status.applications["default"]?.deployments["D"]?.deployment_config).toMatchObject(options);
  });

  it("of the route prefix keeps every process [C103]", async () => {
    const mesh = await running();
    await mesh.deploy([{ manifest: one(), route_prefix: "/v" }]);
    await mesh.run(300);
    expect(mesh.starts).toHaveLength(1);
    expect(mesh.workers.get("a")?.assignment?.replicas[0]?.routePrefix).toBe("/v");
  });

  it("whose constructor always raises stops after nine failures; two of three old replicas serve on [X-UPD-06]", async () => {
    const mesh = await running({ num_replicas: 3 });
    mesh.behaviour = (spec) => (spec.artefact.endsWith("2") ? { startupError: "RuntimeError: v2 cannot start" } : {});
    const seen = new Set<string>();
    await mesh.deploy([{ manifest: one({ num_replicas: 3 }, 2) }]);
    await mesh.run(5_000, () => {
      const left = /Retrying (\d+) more/.exec(mesh.status.applications["default"]?.deployments["D"]?.message ?? "");
      if (left !== null) seen.add(left[1] ?? "");
    });
    expect([...seen]).toEqual(["8", "7", "6", "5", "4", "3", "2", "1"]);
    expect(mesh.status.applications["default"]).toMatchObject({ status: "DEPLOY_FAILED", message: "Failed to update the deployments ['D']." });
    const d = mesh.status.applications["default"]!.deployments["D"]!;
    expect([d.status, d.status_trigger]).toEqual(["DEPLOY_FAILED", "REPLICA_STARTUP_FAILED"]);
    expect(d.message).toMatch(/^The deployment failed to start 9 times in a row during a rolling update\..*RuntimeError: v2 cannot start$/s);
    expect(mesh.states("default")).toEqual(["RUNNING", "RUNNING"]);
    // A new deploy of good code heals it.
    await mesh.deploy([{ manifest: one({ num_replicas: 3 }, 3) }]);
    await mesh.run(1_000);
    expect(mesh.status.applications["default"]?.status).toBe("RUNNING");
    expect(mesh.states("default")).toEqual(Array(3).fill("RUNNING"));
  });

  it("whose reconfigure raises replaces one replica, gives up after six, and the other serves on [X-UPD-04, X-UPD-05]", async () => {
    const mesh = await running({ num_replicas: 2, user_config: { v: 0 } });
    mesh.behaviour = (spec) => ((spec.userConfig as { boom?: boolean }).boom ? { startupError: "ValueError: on purpose", reconfigureError: "ValueError: on purpose" } : {});
    const code = one({ num_replicas: 2, user_config: { v: 0 } });
    await mesh.deploy([{ manifest: code, deployments: [{ name: "D", user_config: { boom: true } }] }]);
    await mesh.run(3_000);
    expect(mesh.status.applications["default"]?.deployments["D"]?.message).toMatch(/^The deployment failed to start 6 times in a row during a rolling update/);
    expect(mesh.states("default")).toEqual(["RUNNING"]);
    await mesh.deploy([{ manifest: code, deployments: [{ name: "D", user_config: { v: 3 } }] }]);
    expect(mesh.status.applications["default"]?.deployments["D"]).toMatchObject({ status: "UPDATING", message: "" });
    await mesh.run(1_000);
    expect(mesh.states("default")).toEqual(["RUNNING", "RUNNING"]);
  });
});

describe("what fails", () => {
  it.each([
    [3, 7, 9],
    [1, 2, 2],
    [1, 20, 3],
  ])("%i replicas, max_constructor_retry_count %i: %i constructor runs, then DEPLOY_FAILED [C121, C088]", async (replicas, retries, runs) => {
    const mesh = new FakeMesh();
    mesh.worker("a");
    mesh.behaviour = () => ({ startupError: "RuntimeError: always" });
    await mesh.deploy([{ manifest: one({ num_replicas: replicas, max_constructor_retry_count: retries }) }]);
    await mesh.run(5_000);
    expect(mesh.starts).toHaveLength(runs);
    const d = mesh.status.applications["default"]!.deployments["D"]!;
    expect(d.message.split("\n")[0]).toBe(`The deployment failed to start ${runs} times in a row. This may be due to a problem with its constructor or initial health check failing. See controller logs for details. Error:`);
    expect(d).toMatchObject({ status: "DEPLOY_FAILED", status_trigger: "REPLICA_STARTUP_FAILED", replicas: [] });
  });

  it("a replica that can't be placed waits, with each worker's reason; the message is Ray's after 30 s [C122]", async () => {
    const mesh = new FakeMesh();
    mesh.worker("a");
    await mesh.deploy([{ name: "gpu", manifest: manifest({ NeedsGpu: { ray_actor_options: { num_cpus: 0, num_gpus: 1 } } }) }]);
    await mesh.run(300);
    const at = () => mesh.status.applications["gpu"]!.deployments["NeedsGpu"]!;
    expect(at()).toMatchObject({ status: "UPDATING", status_trigger: "CONFIG_UPDATE_STARTED", replicas: [{ state: "STARTING", message: "No worker has room. a: needs 1 GPU, has 0 free of 0." }] });
    await mesh.run(31_000);
    expect(at().message).toMatch(/^Deployment 'NeedsGpu' in application 'gpu' has 1 replicas that have taken more than 30s to be scheduled\. .*Resources required for each replica: {"GPU": 1}, total resources available: {"CPU": 8}/);
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
      status: "UNHEALTHY", message: "The deployments ['D'] are UNHEALTHY.",
      deployments: { D: { status: "UNHEALTHY", status_trigger: "HEALTH_CHECK_FAILED", message: "A replica's health check failed. This deployment will be UNHEALTHY until the replica recovers or a new deploy happens." } },
    });
    await mesh.run(300);
    expect(mesh.status.applications["default"]).toMatchObject({ status: "RUNNING", deployments: { D: { status: "HEALTHY", status_trigger: "UNSPECIFIED", message: "" } } });
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
    const pids = mesh.status.applications["default"]!.deployments["D"]!.replicas.map((r) => r.pid).sort();
    mesh.startCoordinator();
    expect(mesh.status.skein.recovering).toBe(true);
    const assignments = [...mesh.workers.values()].map((w) => w.assignment);
    mesh.workers.get("a")!.join();
    await mesh.run(3_000);
    expect(mesh.status.skein.recovering).toBe(true);
    expect([...mesh.workers.values()].map((w) => w.assignment)).toEqual(assignments);
    expect(Object.values(mesh.loop.state.replicas).map((r) => [r.worker, r.phase])).toEqual(mesh.workers.get("a")!.assignment!.replicas.map(() => ["a", "running"]));
    mesh.workers.get("b")!.join();
    await mesh.run(500);
    expect(mesh.status.skein.recovering).toBe(false);
    expect(mesh.status.applications["default"]).toMatchObject({ status: "RUNNING", deployments: { D: { status: "HEALTHY" } } });
    expect(mesh.status.applications["default"]!.deployments["D"]!.replicas.map((r) => r.pid).sort()).toEqual(pids);
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
      expect(mesh.status.applications["e"]?.deployments["D"]).toMatchObject({ status: "HEALTHY", status_trigger: "CONFIG_UPDATE_COMPLETED", target_num_replicas: target });
      await mesh.run(300);
      expect(mesh.states("e")).toEqual(Array(target).fill("RUNNING"));
    }
    expect(mesh.status.applications["e"]?.status).toBe("RUNNING");
  });

  it("by target_capacity: 50 % of four is two, anything above zero keeps one (case 76)", async () => {
    const mesh = await running({ num_replicas: 4 });
    for (const [capacity, replicas] of [[50, 2], [1, 1], [0, 0], [null, 4]] as const) {
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
    expect(mesh.status.applications["default"]?.deployments["D"]).toMatchObject({ status: "HEALTHY", status_trigger: "DOWNSCALE_COMPLETED" });
  });
});
