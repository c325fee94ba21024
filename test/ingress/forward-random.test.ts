import fc from "../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { Forward } from "../../ingress/forward.ts";
import { repeatable } from "../../ingress/retry.ts";
import { answer, bytes, Client, httpHead } from "./client.ts";
import { routed, table, TestMesh } from "./harness.ts";

describe("random schedules", () => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant("ask" as const), method: fc.constantFrom("GET", "POST"), body: fc.boolean() }),
    fc.record({
      kind: fc.constantFrom("answer" as const, "busy" as const, "half" as const, "throw" as const),
      at: fc.nat(50),
    }),
    fc.record({ kind: fc.constantFrom("die" as const, "link" as const), at: fc.nat(3) }),
    fc.record({ kind: fc.constantFrom("leave" as const, "expire" as const), at: fc.nat(50) }),
    fc.record({ kind: fc.constant("tick" as const) }),
    fc.record({ kind: fc.constant("step" as const), at: fc.nat(10) }),
  );

  it("every request ends exactly once with its own answer, counts return to zero, POSTs reach one replica only", () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80, size: "max" }), fc.integer(), (actions, seed) => {
        let state = seed >>> 0;
        const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
        const t = new TestMesh(random);
        const names = ["a", "b", "c"];
        t.mesh.apply(
          table({
            deployments: [{ maxOngoingRequests: 2, maxQueuedRequests: 4, replicas: names.map((n) => routed(n)) }],
          }),
        );
        for (const name of names) t.link(name);
        const clients: { client: Client; id: string; method: string; gone: boolean }[] = [];
        const live = () => t.replicas.filter((r) => r.pair.dialler.state === "ready");
        const open = () =>
          live()
            .flatMap((r) => r.taken)
            .filter((x) => !x.stream.closed && x.cancelled === null);
        const act = (a: (typeof actions)[number]): void => {
          if (a.kind === "ask") {
            const client = new Client();
            const id = `${clients.length}`;
            client.forward = new Forward(
              t.mesh.pool("app", "D")!,
              {
                head: httpHead({ method: a.method, requestId: id }),
                repeatable: repeatable(a.method, false),
                deadline: null,
                ended: !a.body,
              },
              client,
            );
            clients.push({ client, id, method: a.method, gone: false });
            client.forward.start();
            if (a.body) {
              client.forward.write("bytes", bytes(id), false);
              client.forward.end();
            }
          } else if (a.kind === "answer" || a.kind === "busy" || a.kind === "half" || a.kind === "throw") {
            const taken = open()[a.at];
            if (taken === undefined) return;
            if (a.kind === "answer") answer(taken, taken.head.requestId);
            else if (a.kind === "busy") taken.stream.busy();
            else if (a.kind === "throw") taken.stream.fail({ code: "APPLICATION_ERROR", message: "x" });
            else {
              taken.stream.accept();
              taken.stream.head({ status: 200, headers: [] });
            }
          } else if (a.kind === "die") live()[a.at]?.die();
          else if (a.kind === "link") {
            // As the sessions do: a newer connection of a replica ends the older one.
            const name = names[a.at % 3]!;
            const older = live().filter((r) => r.name === name);
            t.link(name);
            for (const r of older) r.die();
          } else if (a.kind === "leave") {
            const found = clients[a.at];
            if (found === undefined || found.client.over) return;
            found.gone = true;
            found.client.forward.cancel("left");
          } else if (a.kind === "expire") {
            const found = clients[a.at];
            if (found?.gone === false) found.client.forward.expire();
          } else if (a.kind === "tick") {
            t.now += 700;
            t.mesh.tick();
          } else for (let i = 0; i < a.at; i++) for (const r of t.replicas) r.pair.step(() => random() < 0.5);
        };
        for (const a of actions) act(a);
        for (let round = 0; round < 200 && clients.some((c) => !c.client.over && !c.gone); round++) {
          if (live().length === 0) t.link("a");
          t.settle();
          for (const taken of open()) answer(taken, taken.head.requestId);
          t.now += 1_100;
          t.mesh.tick();
        }
        t.settle();
        for (const { client, id, gone } of clients) {
          if (gone) continue;
          expect(client.over).toBe(true);
          if (client.ended !== null) expect(client.text).toBe(id);
        }
        const pool = t.mesh.pool("app", "D")!;
        expect([pool.ongoing, pool.queued]).toEqual([0, 0]);
        expect(pool.peers.every((p) => p.inFlight === 0)).toBe(true);
        for (const { id, method } of clients) {
          const runs = t.replicas.flatMap((r) => r.taken).filter((x) => x.head.requestId === id);
          if (method === "GET") continue;
          const epochs = runs.map((r) => r.head.epoch);
          expect(new Set(epochs).size).toBe(epochs.length);
        }
      }),
      { numRuns: 300 },
    );
  });
});
