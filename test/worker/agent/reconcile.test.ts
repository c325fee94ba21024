import fc from "../../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import {
  newerAssignment,
  reconcile,
  type Action,
  type Held,
  type HeldIngress,
  type HeldReplica,
} from "../../../worker/agent/reconcile.ts";
import { INGRESS_DRAIN_MS, LEAVE_REPLICA_MIN_MS } from "../../../worker/agent/limits.ts";
import { assignment, ingressSpec, replicaSpec } from "./specs.ts";

const room = { cpus: 4, gpus: 1, memory: 1e9 };
const nothing: Held = { room, replicas: new Map(), ingress: null };
const held = (replicas: readonly HeldReplica[], ingress: HeldIngress | null = null): Held => ({
  room,
  replicas: new Map(replicas.map((r) => [r.spec.replica, r])),
  ingress,
});
const live = (spec = replicaSpec("r")): HeldReplica => ({ spec, phase: "live", killAt: null });

describe("reconcile", () => {
  it("does nothing before the first assignment, and starts what the first one lists", () => {
    expect(reconcile(null, nothing, 0)).toEqual([]);
    const spec = replicaSpec("r");
    expect(reconcile(assignment(1, [spec]), nothing, 0)).toEqual([{ do: "startReplica", spec }]);
    expect(reconcile(assignment(1, [spec]), held([live(spec)]), 0)).toEqual([]);
  });

  it("keeps what runs while there is no assignment", () => {
    expect(reconcile(null, held([live()]), 1e9)).toEqual([]);
  });

  it("drains what left the assignment for its own time, then kills it", () => {
    expect(reconcile(assignment(2, []), held([live()]), 0)).toEqual([
      { do: "stopReplica", replica: "r", timeoutMs: 20_000, waitLoopMs: 2_000 },
    ]);
    const stopping: HeldReplica = { ...live(), phase: "stopping", killAt: 22_000 };
    expect(reconcile(assignment(2, []), held([stopping]), 21_999)).toEqual([]);
    expect(reconcile(assignment(2, []), held([stopping]), 22_000)).toEqual([{ do: "killReplica", replica: "r" }]);
  });

  it("reports a failed replica until it leaves the assignment, and never starts it again by itself", () => {
    const ended: HeldReplica = { ...live(), phase: "ended" };
    expect(reconcile(assignment(1, [replicaSpec("r")]), held([ended]), 0)).toEqual([]);
    expect(reconcile(assignment(1, [replicaSpec("r", { userConfigVersion: 2 })]), held([ended]), 0)).toEqual([]);
    expect(reconcile(assignment(2, []), held([ended]), 0)).toEqual([{ do: "forgetReplica", replica: "r" }]);
  });

  it("starts nothing beside what is still going where both don't fit, unless nothing goes", () => {
    const wanted = [replicaSpec("small", { cpus: 1 }), replicaSpec("large", { cpus: 2 })];
    const started = (before: readonly HeldReplica[]): string[] =>
      reconcile(assignment(2, wanted), held(before), 0).flatMap((a) =>
        a.do === "startReplica" ? [a.spec.replica] : [],
      );
    const other = replicaSpec("of another coordinator", { cpus: 3 });
    expect(started([live(other)])).toEqual(["small"]);
    expect(started([{ spec: other, phase: "stopping", killAt: 9 }])).toEqual(["small"]);
    expect(started([{ spec: other, phase: "gone", killAt: null }])).toEqual(["small", "large"]);
    const kept = replicaSpec("kept", { cpus: 9 });
    expect(reconcile(assignment(2, [kept, ...wanted]), held([live(kept)]), 0)).toHaveLength(2);
  });

  it("passes on what can change while it runs, and nothing else", () => {
    const changed = [{ userConfigVersion: 2, userConfig: 7 }, { maxOngoingRequests: 9 }, { ticket: "newer" }];
    for (const change of changed) {
      const spec = replicaSpec("r", change);
      expect(reconcile(assignment(2, [spec]), held([live()]), 0)).toEqual([{ do: "reconfigureReplica", spec }]);
      expect(reconcile(assignment(2, [spec]), held([live(spec)]), 0)).toEqual([]);
    }
    expect(reconcile(assignment(2, [replicaSpec("r", { rank: 3 })]), held([live()]), 0)).toEqual([]);
  });

  it("takes a newer incarnation for another replica in the same place, an older one for a late message", () => {
    expect(
      reconcile(assignment(2, [replicaSpec("r", { incarnation: 2 })]), held([live()]), 0).map((a) => a.do),
    ).toEqual(["stopReplica"]);
    expect(reconcile(assignment(2, [replicaSpec("r", { incarnation: 0, ticket: "old" })]), held([live()]), 0)).toEqual(
      [],
    );
  });

  it("ignores assignments of an older term or revision", () => {
    const now = assignment(5, [], null, 2);
    expect(newerAssignment(now, assignment(9, [], null, 1))).toBe(now);
    expect(newerAssignment(now, assignment(4, [], null, 2))).toBe(now);
    const again = assignment(5, [], null, 2);
    expect(newerAssignment(now, again)).toBe(again);
    expect(newerAssignment(null, again)).toBe(again);
  });

  it("starts, alters, replaces and restarts the ingress", () => {
    const one = ingressSpec("one");
    const running: HeldIngress = { spec: one, phase: "live", killAt: null, retryAt: null };
    expect(reconcile(assignment(1, [], one), nothing, 0)).toEqual([{ do: "startIngress", spec: one }]);
    expect(reconcile(assignment(1, [], one), held([], running), 0)).toEqual([]);
    const altered = ingressSpec("one", 8901);
    expect(reconcile(assignment(1, [], altered), held([], running), 0)).toEqual([
      { do: "alterIngress", spec: altered },
    ]);
    expect(reconcile(assignment(1, [], ingressSpec("two")), held([], running), 0)).toEqual([
      { do: "stopIngress", drainMs: INGRESS_DRAIN_MS },
    ]);
    const crashed: HeldIngress = { ...running, phase: "crashed", retryAt: 100 };
    expect(reconcile(assignment(1, [], one), held([], crashed), 99)).toEqual([]);
    expect(reconcile(assignment(1, [], one), held([], crashed), 100)).toEqual([{ do: "startIngress", spec: one }]);
    // The coordinator need not be there for that.
    expect(reconcile(null, held([], crashed), 100)).toEqual([{ do: "startIngress", spec: one }]);
  });

  it("leaves in order: the ingress drains, then the replicas", () => {
    const ingress: HeldIngress = { spec: ingressSpec("one"), phase: "live", killAt: null, retryAt: null };
    expect(reconcile(null, held([live()], ingress), 0, 5_000).map((a) => a.do)).toEqual(["stopIngress"]);
    expect(reconcile(null, held([live()], { ...ingress, phase: "stopping", killAt: 9 }), 0, 5_000)).toEqual([]);
    expect(reconcile(null, held([live()]), 0, 5_000).map((a) => a.do)).toEqual(["stopReplica"]);
    // What the ingress has used up is gone, but for a moment.
    expect(reconcile(null, held([live()]), 4_000, 5_000)).toMatchObject([{ timeoutMs: 1_000, waitLoopMs: 0 }]);
    expect(reconcile(null, held([live()]), 6_000, 5_000)).toMatchObject([{ timeoutMs: LEAVE_REPLICA_MIN_MS }]);
    // Whatever the coordinator would like.
    expect(reconcile(assignment(1, [replicaSpec("new")]), nothing, 0, 5_000)).toEqual([]);
  });
});

/** A worker in the smallest form: actions happen at once, or (stops) by the test's choice. */
class Model implements Held {
  readonly room = { cpus: 2, gpus: 0, memory: 0 };
  replicas = new Map<string, HeldReplica>();
  ingress: HeldIngress | null = null;

  apply(action: Action, now: number): void {
    switch (action.do) {
      case "startReplica":
        expect(this.replicas.has(action.spec.replica)).toBe(false);
        this.replicas.set(action.spec.replica, { spec: action.spec, phase: "live", killAt: null });
        return;
      case "reconfigureReplica":
        return this.#change(action.spec.replica, { spec: action.spec });
      case "stopReplica":
        return this.#change(action.replica, { phase: "stopping", killAt: now + action.timeoutMs });
      case "killReplica":
        expect(this.replicas.get(action.replica)?.phase).toBe("stopping");
        return this.#change(action.replica, { phase: "gone" });
      case "forgetReplica":
        expect(["ended", "gone"]).toContain(this.replicas.get(action.replica)?.phase);
        this.replicas.delete(action.replica);
        return;
      case "startIngress":
      case "alterIngress":
        this.ingress = { spec: action.spec, phase: "live", killAt: null, retryAt: null };
        return;
      case "stopIngress":
        this.ingress = this.ingress && { ...this.ingress, phase: "stopping", killAt: now + action.drainMs };
        return;
      case "killIngress":
        this.ingress = this.ingress && { ...this.ingress, phase: "gone" };
        return;
      case "forgetIngress":
        this.ingress = null;
    }
  }

  crash(id: string): void {
    if (this.replicas.get(id)?.phase === "live") this.#change(id, { phase: "ended" });
  }

  #change(id: string, change: Partial<HeldReplica>): void {
    const replica = this.replicas.get(id);
    if (replica === undefined) throw new Error(`no replica ${id}`);
    this.replicas.set(id, { ...replica, ...change });
  }
}

const ids = fc.constantFrom("a", "b", "c", "d");
const specs = fc.uniqueArray(
  fc.record({
    id: ids,
    incarnation: fc.integer({ min: 1, max: 3 }),
    userConfigVersion: fc.integer({ min: 1, max: 3 }),
  }),
  { selector: (s) => s.id, maxLength: 4 },
);
const step = fc.oneof(
  fc.record({ kind: fc.constant("assign" as const), specs, ingress: fc.option(fc.constantFrom("i", "j")) }),
  fc.record({ kind: fc.constant("crash" as const), id: ids }),
  fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 30_000 }) }),
);

describe("reconcile, whatever happens", () => {
  it("ends with exactly what the last assignment lists, and then has nothing more to do", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const model = new Model();
        let wanted = assignment(0, []);
        let now = 0;
        const run = (): void => reconcile(wanted, model, now).forEach((action) => model.apply(action, now));
        for (const [revision, s] of steps.entries()) {
          if (s.kind === "assign") {
            const replicas = s.specs.map(({ id, ...change }) => replicaSpec(id, change));
            wanted = assignment(revision, replicas, s.ingress === null ? null : ingressSpec(s.ingress));
          } else if (s.kind === "crash") model.crash(s.id);
          else now += s.ms;
          run();
        }
        for (let round = 0; round < 8; round += 1) {
          now += 30_000;
          run();
        }
        expect(reconcile(wanted, model, now)).toEqual([]);
        expect([...model.replicas.keys()].sort()).toEqual(wanted.replicas.map((r) => r.replica).sort());
        for (const spec of wanted.replicas) {
          const got = model.replicas.get(spec.replica);
          expect(got?.spec.incarnation).toBeGreaterThanOrEqual(spec.incarnation);
          if (got?.phase === "live" && got.spec.incarnation === spec.incarnation)
            expect(got.spec.userConfigVersion).toBeGreaterThanOrEqual(spec.userConfigVersion);
        }
        expect(model.ingress?.spec.ingress).toBe(wanted.ingress?.ingress);
      }),
      { numRuns: 300 },
    );
  });
});
