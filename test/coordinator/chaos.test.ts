/** Seeded misfortune: lost and late messages, crashing workers and coordinators, changing wishes. Invariants at every step, convergence at the end. */
import { expect, it } from "vitest";
import { below, chance, pickOne, seededRandom } from "../support/random.ts";
import { FakeMesh } from "./fake-mesh.ts";
import { manifest } from "./manifest.ts";

const EPSILON = 1e-6;

/** What must hold whatever happens. */
function check(mesh: FakeMesh): void {
  const used = new Map<string, number>();
  for (const replica of Object.values(mesh.loop.state.replicas)) {
    expect(replica.phase === "pending", `${replica.id} ${replica.phase} on ${replica.worker}`).toBe(
      replica.worker === null,
    );
    if (replica.worker !== null) used.set(replica.worker, (used.get(replica.worker) ?? 0) + replica.reserved.cpus);
  }
  for (const [id, cpus] of used)
    expect(cpus, `${id} is oversubscribed`).toBeLessThanOrEqual((mesh.workers.get(id)?.options.cpus ?? 0) + EPSILON);
  // What really runs never needs more than there is either, or a machine would be overloaded behind our back.
  for (const worker of mesh.workers.values()) {
    const real = [...worker.held.values()].reduce((sum, held) => sum + held.spec.cpus, 0);
    expect(real, `${worker.id} really holds too much`).toBeLessThanOrEqual(worker.options.cpus + EPSILON);
  }
  expect(mesh.problems).toEqual([]);
}

it.each(Array.from({ length: Number(process.env["SKEIN_SEEDS"] ?? 8) }, (_, i) => i + 1))(
  "seed %i converges",
  async (seed) => {
    const random = seededRandom(seed);
    const mesh = new FakeMesh(seed);
    mesh.loss = 0.1;
    mesh.delayMs = 200;
    const names = ["a", "b", "c"];
    for (const name of names) mesh.worker(name, { cpus: 4, startMs: 100 });
    let wish = { replicas: 2, version: 1, value: 1 };
    const deploy = () =>
      mesh
        .deploy([
          { manifest: manifest({ D: { num_replicas: wish.replicas, user_config: { v: wish.value } } }, wish.version) },
        ])
        .catch(() => {});
    await deploy();
    for (let round = 0; round < 12; round += 1) {
      await mesh.run(below(random, 2_500), () => check(mesh));
      const worker = mesh.workers.get(pickOne(random, names))!;
      const dice = below(random, 7);
      if (dice === 0) worker.crash();
      else if (dice === 1) worker.disconnect();
      else if (dice === 2) worker.kill(pickOne(random, [...worker.held.keys(), "nobody"]));
      else if (dice === 3) mesh.startCoordinator();
      else {
        wish = {
          replicas: 1 + below(random, 9),
          version: chance(random, 0.3) ? wish.version + 1 : wish.version,
          value: chance(random, 0.3) ? wish.value + 1 : wish.value,
        };
        await deploy();
      }
      for (const one of mesh.workers.values()) if (one.session === null && chance(random, 0.7)) one.join();
    }
    // The storm is over; only a tenth of messages still goes astray.
    await deploy();
    // A join that gets lost is tried again, as agents do.
    await mesh.run(40_000, () => {
      check(mesh);
      if (mesh.nowMs % 2_000 === 0) for (const one of mesh.workers.values()) if (one.session === null) one.join();
    });
    const held = [...mesh.workers.values()].flatMap((w) => [...w.held.values()].map((h) => h.report));
    expect(mesh.status.applications["default"]).toMatchObject({
      status: "RUNNING",
      deployments: { D: { target_num_replicas: wish.replicas } },
    });
    expect(held.map((r) => r.replica).sort()).toEqual(Object.keys(mesh.loop.state.replicas).sort());
    expect(held).toHaveLength(wish.replicas);
    expect(held.every((r) => r.state === "ready")).toBe(true);
  },
);

it("the same seed gives the same replica ids", async () => {
  const trace = async (): Promise<string[]> => {
    const mesh = new FakeMesh(7);
    mesh.worker("a");
    await mesh.deploy([{ manifest: manifest({ D: { num_replicas: 3 } }) }]);
    await mesh.run(300);
    return mesh.starts.map((s) => s.replica);
  };
  expect(await trace()).toEqual(await trace());
});
