/** Which replicas link to which ingresses of a large mesh. */
import fc from "../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { subsets, type Entrance, type Placed, type Subsets } from "../../coordinator/subset.ts";
import { LINKS_EACH_MIN, LINKS_FULL_MAX } from "../../protocol/limits.ts";
import { FakeMesh } from "./fake-mesh.ts";
import { one } from "./running.ts";

const replicasNamed = (names: readonly number[], hosts: number): Placed[] =>
  names.map((n) => ({ id: `app#D#${n.toString(36)}`, host: `h${n % hosts}` }));
const ingresses = (count: number): Entrance[] =>
  Array.from({ length: count }, (_, i) => ({ id: `ingress-h${i}`, host: `h${i}`, head: i === 0 }));
const pairs = (of: Subsets): Set<string> =>
  new Set([...of].flatMap(([ingress, replicas]) => [...replicas].map((replica) => `${ingress} ${replica}`)));

describe("subsets", () => {
  const mesh = fc.record({
    names: fc.uniqueArray(fc.nat(1e6), { minLength: 20, maxLength: 300 }),
    hosts: fc.integer({ min: 4, max: 60 }),
  });

  it("leave nobody with fewer than two, the head with all, a replica with its own host's; they are few, and no order matters", () => {
    fc.assert(
      fc.property(mesh, ({ names, hosts }) => {
        const replicas = replicasNamed(names, hosts);
        const all = ingresses(hosts);
        const of = subsets(replicas, all);
        if (replicas.length * hosts <= LINKS_FULL_MAX) {
          expect(of).toBeNull();
          return;
        }
        expect([...of!.keys()].sort()).toEqual(all.map((i) => i.id).sort());
        expect(of!.get("ingress-h0")!.size).toBe(replicas.length);
        for (const replicasOf of of!.values()) expect(replicasOf.size).toBeGreaterThanOrEqual(LINKS_EACH_MIN);
        for (const { id, host } of replicas) {
          expect(of!.get(`ingress-${host}`)!.has(id)).toBe(true);
          const others = [...of!].filter(([ingress, linked]) => ingress !== "ingress-h0" && linked.has(id));
          expect(others.length).toBeGreaterThanOrEqual(LINKS_EACH_MIN);
        }
        const few = LINKS_FULL_MAX + (2 + LINKS_EACH_MIN) * replicas.length + LINKS_EACH_MIN * hosts;
        expect(pairs(of!).size).toBeLessThanOrEqual(few);
        expect(pairs(subsets(replicas.toReversed(), all.toReversed())!)).toEqual(pairs(of!));
      }),
      { numRuns: 50 },
    );
  });

  it("hardly move when one replica or one ingress comes or goes", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(1e6), { minLength: 100, maxLength: 300 }), (names) => {
        const replicas = replicasNamed(names, 40);
        const all = ingresses(40);
        const before = pairs(subsets(replicas, all)!);
        const moved = (after: Set<string>, without: string): number =>
          [...before.symmetricDifference(after)].filter((pair) => !pair.includes(without)).length;
        const gone = replicas[7]!.id;
        // At most one in its place for each ingress, and one for each link more that is shared out.
        const fewer = pairs(subsets(replicas.slice(0, 7).concat(replicas.slice(8)), all)!);
        expect(moved(fewer, gone)).toBeLessThanOrEqual(all.length + replicas.length);
        expect(moved(fewer, gone)).toBeLessThan(before.size / 4);
        const oneLess = pairs(subsets(replicas, all.slice(0, -1))!);
        expect(moved(oneLess, "ingress-h39")).toBeLessThan(before.size / 4);
      }),
      { numRuns: 30 },
    );
  });

  it("are balanced: no ingress has far more than its share", () => {
    const replicas = replicasNamed(
      Array.from({ length: 1_000 }, (_, i) => i * 7919),
      50,
    );
    const of = subsets(replicas, ingresses(50))!;
    const sizes = [...of].flatMap(([id, linked]) => (id === "ingress-h0" ? [] : [linked.size]));
    const mean = sizes.reduce((a, b) => a + b, 0) / sizes.length;
    expect(Math.max(...sizes)).toBeLessThan(1.5 * mean);
    expect(Math.min(...sizes)).toBeGreaterThan(mean / 1.5);
    // One ingress of each replica may die, also where ingresses choose few.
    for (const { id } of replicas)
      expect([...of].filter(([ingress, linked]) => ingress !== "ingress-h0" && linked.has(id)).length).toBeGreaterThan(
        1,
      );
    // A twentieth of all with all, but for the head.
    expect(mean).toBeLessThan(100);
  });
});

describe("a large mesh", () => {
  const HOSTS = 16;

  it("tells each worker which of its replicas dial which ingress; a small one says nothing of it", async () => {
    const mesh = new FakeMesh();
    for (let i = 0; i < HOSTS; i += 1) mesh.worker(`w${i}`);
    const scaledTo = async (replicas: number): Promise<void> => {
      await mesh.deploy([{ manifest: one(), deployments: [{ name: "D", num_replicas: replicas }] }]);
      await mesh.run(1_000);
      expect(mesh.states("default")).toEqual(Array(replicas).fill("RUNNING"));
    };
    const told = () => [...mesh.workers.values()].map(({ assignment, held }) => ({ assignment: assignment!, held }));
    await scaledTo(HOSTS);
    for (const { assignment } of told())
      expect(assignment.ingresses.filter(({ replicas }) => replicas !== undefined)).toEqual([]);
    const many = LINKS_FULL_MAX / HOSTS + HOSTS;
    await scaledTo(many);
    const dialled = new Map<string, string[]>();
    for (const { assignment, held } of told())
      for (const { ingress, replicas } of assignment.ingresses)
        dialled.set(ingress, [...(dialled.get(ingress) ?? []), ...(replicas ?? held.keys())]);
    const sizes = [...dialled.values()].map((replicas) => new Set(replicas).size).sort((a, b) => a - b);
    expect(sizes).toHaveLength(HOSTS);
    expect(sizes.at(-1)).toBe(many);
    expect(sizes[0]).toBeGreaterThanOrEqual(LINKS_EACH_MIN);
    expect(sizes.at(-2)).toBeLessThan(many);
    expect(new Set([...dialled.values()].flat()).size).toBe(many);
  });
});
