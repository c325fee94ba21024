/** Stories of deploys, told by the shipping loop on a virtual clock. Words and numbers are those of the recordings named in brackets. */
import { describe, expect, it } from "vitest";
import { FakeMesh } from "./fake-mesh.ts";
import { manifest } from "./manifest.ts";
import { one, running } from "./running.ts";

describe("a deploy", () => {
  it("goes from DEPLOYING to RUNNING, and its replicas are routed", async () => {
    const mesh = new FakeMesh();
    const a = mesh.worker("a");
    await mesh.deploy([{ manifest: one() }]);
    expect(mesh.status.applications["default"]).toMatchObject({
      status: "DEPLOYING",
      deployments: { D: { status: "UPDATING", status_trigger: "CONFIG_UPDATE_STARTED" } },
    });
    await mesh.run(300);
    expect(mesh.status.applications["default"]).toMatchObject({
      status: "RUNNING",
      message: "",
      route_prefix: "/",
      deployments: {
        D: {
          status: "HEALTHY",
          status_trigger: "CONFIG_UPDATE_COMPLETED",
          target_num_replicas: 1,
          required_resources: { CPU: 1 },
        },
      },
    });
    expect(mesh.states("default")).toEqual(["RUNNING"]);
    expect(a.assignment?.ingress?.http?.port).toBe(8000);
    expect(a.assignment?.ingresses).toEqual([
      { ingress: "ingress-host-a", host: "host-a", urls: ["ws://10.0.0.1:1/link", "ws://mesh/relay/ingress-host-a"] },
    ]);
  });

  it("spreads replicas, and 1 -> 4 takes no more than starting them", async () => {
    const mesh = await running({}, 2);
    await mesh.deploy([{ manifest: one(), deployments: [{ name: "D", num_replicas: 4 }] }]);
    expect(mesh.status.applications["default"]?.deployments["D"]).toMatchObject({
      status: "UPSCALING",
      status_trigger: "CONFIG_UPDATE_STARTED",
    });
    await mesh.run(150);
    expect(mesh.states("default")).toEqual(Array(4).fill("RUNNING"));
    expect([...mesh.workers.values()].map((w) => w.held.size)).toEqual([2, 2]);
    expect(mesh.status.applications["default"]?.deployments["D"]).toMatchObject({
      status: "HEALTHY",
      status_trigger: "UPSCALE_COMPLETED",
    });
  });

  it("that is repeated as it is changes no process and no word [C104]", async () => {
    const mesh = await running();
    const before = mesh.status.applications["default"]!;
    await mesh.run(1_000);
    await mesh.deploy([{ manifest: one() }]);
    expect(mesh.status.applications["default"]).toMatchObject({
      status: "RUNNING",
      deployments: { D: { status: "HEALTHY", status_trigger: "CONFIG_UPDATE_COMPLETED" } },
    });
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
    expect(mesh.status.applications["default"]).toMatchObject({
      status: "DEPLOYING",
      deployments: {},
      route_prefix: null,
    });
    await mesh.loop.dispatch({ type: "buildFailed", app: "default" as never, generation: 7, message: "late" });
    expect(mesh.status.applications["default"]?.status).toBe("DEPLOYING");
    await mesh.loop.dispatch({
      type: "buildFailed",
      app: "default" as never,
      generation: 1,
      message: "No module named 'x'",
    });
    expect(mesh.status.applications["default"]).toMatchObject({
      status: "DEPLOY_FAILED",
      message: "No module named 'x'",
      route_prefix: null,
      deployments: {},
    });
  });

  it("that overrides a deployment which the code doesn't have fails with the recorded words [C107]", async () => {
    const mesh = new FakeMesh();
    await mesh.deploy([
      {
        name: "unknown-dep",
        route_prefix: "/u",
        manifest: manifest({ Ok: {} }),
        deployments: [{ name: "Nope", num_replicas: 2 }],
      },
    ]);
    expect(mesh.status.applications["unknown-dep"]).toMatchObject({
      status: "DEPLOY_FAILED",
      message: "Deployment 'Nope' does not exist. Available: ['Ok']",
      route_prefix: null,
      deployments: {},
    });
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
    await mesh.deploy([
      { name: "u", route_prefix: "/u", manifest: one() },
      { name: "echo", route_prefix: "/echo", manifest: one({}, 2) },
    ]);
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
