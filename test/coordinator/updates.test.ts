/** Stories of updates: waves, configs in place, updates that fail. Recordings in brackets. */
import { describe, expect, it } from "vitest";
import { one, running } from "./running.ts";

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
    expect(mesh.status.applications["default"]?.deployments["D"]).toMatchObject({
      status: "HEALTHY",
      status_trigger: "CONFIG_UPDATE_COMPLETED",
    });
  });

  it("with rolling_update_percentage 1 replaces all at once [C164]", async () => {
    const mesh = await running({ num_replicas: 5, rolling_update_percentage: 1, ray_actor_options: { num_cpus: 0 } });
    await mesh.deploy([
      { manifest: one({ num_replicas: 5, rolling_update_percentage: 1, ray_actor_options: { num_cpus: 0 } }, 2) },
    ]);
    expect(mesh.states("default")).toEqual([...Array(5).fill("STARTING"), ...Array(5).fill("STOPPING")]);
    await mesh.run(500);
    expect(mesh.states("default")).toEqual(Array(5).fill("RUNNING"));
  });

  it.each([
    [100, 5, 10],
    [40, 5, 7],
    [1, 5, 6],
  ])(
    "with max_surge_percent %i starts new ones first: %i of five run, and no more than %i are wanted [C164]",
    async (percent, min, max) => {
      const options = { num_replicas: 5, max_surge_percent: percent, ray_actor_options: { num_cpus: 0 } };
      const mesh = await running(options);
      await mesh.deploy([{ manifest: one(options, 2) }]);
      expect(mesh.states("default")).toEqual([...Array(5).fill("RUNNING"), ...Array(max - 5).fill("STARTING")]);
      let [fewest, most] = [9, 0];
      await mesh.run(3_000, () => {
        const states = mesh.states("default");
        fewest = Math.min(fewest, states.filter((s) => s === "RUNNING").length);
        most = Math.max(most, states.filter((s) => s !== "STOPPING").length);
      });
      expect([fewest, most]).toEqual([min, max]);
      expect(mesh.states("default")).toEqual(Array(5).fill("RUNNING"));
      expect(mesh.starts).toHaveLength(10);
      expect(mesh.status.applications["default"]?.status).toBe("RUNNING");
    },
  );

  it("with surge whose constructor always raises gives up, and all old replicas serve on", async () => {
    const options = { num_replicas: 3, max_surge_percent: 100, ray_actor_options: { num_cpus: 0 } };
    const mesh = await running(options);
    mesh.behaviour = (spec) => (spec.artefact.endsWith("2") ? { startupError: "RuntimeError: v2 cannot start" } : {});
    await mesh.deploy([{ manifest: one(options, 2) }]);
    await mesh.run(5_000);
    expect(mesh.status.applications["default"]?.status).toBe("DEPLOY_FAILED");
    expect(mesh.states("default")).toEqual(Array(3).fill("RUNNING"));
    // Fewer are wanted meanwhile: old ones go, none comes.
    await mesh.deploy([{ manifest: one({ ...options, num_replicas: 1 }, 3) }]);
    await mesh.run(1_000);
    expect(mesh.states("default")).toEqual(["RUNNING"]);
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
    await mesh.deploy([
      {
        manifest: one({ num_replicas: 2, user_config: { v: 1 } }),
        deployments: [{ name: "D", user_config: { v: 2 } }],
      },
    ]);
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
    [
      "health and graceful options",
      {
        health_check_period_s: 3,
        health_check_timeout_s: 4,
        graceful_shutdown_timeout_s: 3,
        graceful_shutdown_wait_loop_s: 1,
      },
    ],
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
    expect(mesh.status.applications["default"]).toMatchObject({
      status: "DEPLOY_FAILED",
      message: "Failed to update the deployments ['D'].",
    });
    const d = mesh.status.applications["default"]!.deployments["D"]!;
    expect([d.status, d.status_trigger]).toEqual(["DEPLOY_FAILED", "REPLICA_STARTUP_FAILED"]);
    expect(d.message).toMatch(
      /^The deployment failed to start 9 times in a row during a rolling update\..*RuntimeError: v2 cannot start$/s,
    );
    expect(mesh.states("default")).toEqual(["RUNNING", "RUNNING"]);
    // A new deploy of good code heals it.
    await mesh.deploy([{ manifest: one({ num_replicas: 3 }, 3) }]);
    await mesh.run(1_000);
    expect(mesh.status.applications["default"]?.status).toBe("RUNNING");
    expect(mesh.states("default")).toEqual(Array(3).fill("RUNNING"));
  });

  it("whose reconfigure raises replaces one replica, gives up after six, and the other serves on [X-UPD-04, X-UPD-05]", async () => {
    const mesh = await running({ num_replicas: 2, user_config: { v: 0 } });
    mesh.behaviour = (spec) =>
      (spec.userConfig as { boom?: boolean }).boom
        ? { startupError: "ValueError: on purpose", reconfigureError: "ValueError: on purpose" }
        : {};
    const code = one({ num_replicas: 2, user_config: { v: 0 } });
    await mesh.deploy([{ manifest: code, deployments: [{ name: "D", user_config: { boom: true } }] }]);
    await mesh.run(3_000);
    expect(mesh.status.applications["default"]?.deployments["D"]?.message).toMatch(
      /^The deployment failed to start 6 times in a row during a rolling update/,
    );
    expect(mesh.states("default")).toEqual(["RUNNING"]);
    await mesh.deploy([{ manifest: code, deployments: [{ name: "D", user_config: { v: 3 } }] }]);
    expect(mesh.status.applications["default"]?.deployments["D"]).toMatchObject({ status: "UPDATING", message: "" });
    await mesh.run(1_000);
    expect(mesh.states("default")).toEqual(["RUNNING", "RUNNING"]);
  });
});
