/** An ingress that is no longer wanted is emptied before it goes (Ray: at least 30 s, and no request), and stays when it is wanted again. */
import { describe, expect, it } from "vitest";
import { DRAIN_MIN_MS } from "../../coordinator/drain.ts";
import { routingTable } from "../../coordinator/routing-table.ts";
import type { HostId, IngressId } from "../../protocol/ids.ts";
import { FakeMesh } from "./fake-mesh.ts";
import { one } from "./running.ts";

const HEAD = "host-a" as HostId;
const OTHER = "host-b" as HostId;

/** A replica and an ingress on each of two hosts. */
async function spread(): Promise<FakeMesh> {
  const mesh = new FakeMesh();
  mesh.worker("a");
  mesh.worker("b");
  await mesh.run(100);
  await mesh.deploy([{ manifest: one(), deployments: [{ name: "D", num_replicas: 2 }] }]);
  await mesh.run(500);
  expect(seen(mesh)).toEqual({ "host-a": "HEALTHY", "host-b": "HEALTHY" });
  return mesh;
}

const seen = (mesh: FakeMesh): Record<string, string> =>
  Object.fromEntries(Object.entries(mesh.status.proxies).map(([host, { status }]) => [host, status]));
const draining = (mesh: FakeMesh): boolean[] =>
  [HEAD, OTHER].map((host) => routingTable(mesh.loop.state, host).draining);
const load = (mesh: FakeMesh, ongoing: number): Promise<void> =>
  mesh.loop.dispatch({
    type: "measured",
    ingress: "ingress-host-b" as IngressId,
    nowMs: mesh.nowMs,
    stats: {
      type: "stats",
      held: null,
      deployments: [{ app: "default", deployment: "D", queued: 0, ongoing, links: 0 }],
    },
  });

describe("an ingress whose host has no replica any more", () => {
  it("says so in its table and in status, and keeps its place and its replicas' links; the head's is always wanted", async () => {
    const mesh = await spread();
    expect(draining(mesh)).toEqual([false, false]);
    await mesh.delete("default");
    await mesh.run(500);
    expect(draining(mesh)).toEqual([false, true]);
    expect(seen(mesh)).toEqual({ "host-a": "HEALTHY", "host-b": "DRAINING" });
    expect(mesh.workers.get("b")!.assignment!.ingress).toMatchObject({
      ingress: "ingress-host-b",
      http: { port: 8000 },
    });
    expect(mesh.workers.get("a")!.assignment!.ingresses.map(({ ingress }) => ingress)).toContain("ingress-host-b");
    // Nobody is sent there any more.
    expect(mesh.status.target_groups.flatMap(({ targets }) => targets.map(({ name }) => name))).toEqual([
      "ingress-host-a",
    ]);
  });

  it("goes after the minimum, when nothing runs there", async () => {
    const mesh = await spread();
    await mesh.delete("default");
    await mesh.run(500);
    await load(mesh, 1);
    await mesh.run(DRAIN_MIN_MS + 1_000);
    expect(seen(mesh)["host-b"]).toBe("DRAINING");
    await load(mesh, 0);
    await mesh.run(1_000);
    expect(mesh.workers.get("b")!.assignment!.ingress).toBeNull();
    expect(seen(mesh)).toEqual({ "host-a": "HEALTHY" });
    expect(mesh.loop.state.draining).toEqual({});
  });

  it("does not go before the minimum, and is as before when a replica comes back", async () => {
    const mesh = await spread();
    await mesh.delete("default");
    await mesh.run(DRAIN_MIN_MS - 1_000);
    expect(seen(mesh)["host-b"]).toBe("DRAINING");
    await mesh.deploy([{ manifest: one(), deployments: [{ name: "D", num_replicas: 2 }] }]);
    await mesh.run(DRAIN_MIN_MS);
    expect(seen(mesh)).toEqual({ "host-a": "HEALTHY", "host-b": "HEALTHY" });
    expect(draining(mesh)).toEqual([false, false]);
  });

  it("is forgotten with its worker", async () => {
    const mesh = await spread();
    await mesh.delete("default");
    await mesh.run(500);
    expect(mesh.loop.state.draining[OTHER]).toMatchObject({ over: false });
    mesh.workers.get("b")!.crash();
    await mesh.run(6_000);
    expect(mesh.loop.state.draining).toEqual({});
  });
});
