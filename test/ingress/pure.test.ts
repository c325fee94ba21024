import fc from "../support/fast-check.ts";
import { describe, expect, it } from "vitest";
import { LINK_QUIET_MS } from "../../protocol/limits.ts";
import { Peer, type Opener } from "../../ingress/peer.ts";
import { COMPARE_ALL_MAX, pick } from "../../ingress/pick.ts";
import { Queue } from "../../ingress/queue.ts";
import { RetryBudget } from "../../ingress/retry.ts";
import { Routes } from "../../ingress/routes.ts";
import { table } from "./harness.ts";

const routes = (prefixes: string[], rootPath = ""): Routes =>
  new Routes(
    table({
      apps: prefixes.map((routePrefix, i) => ({ name: `app${i}`, routePrefix, ingress: "D", grpcServices: [] })),
      deployments: [],
    }),
    rootPath,
  );

describe("routes (C005, C006-c, ray-serve.md 5.1)", () => {
  const r = routes(["/hello", "/", "/hello/world", "/hello/world/again", "/a b"]);
  it.each([
    ["/hello", "/hello", "/hello", ""],
    ["/hello/", "/hello", "/hello", "/"],
    ["/hello/a?x=1", "/hello", "/hello", "/a?x=1"],
    ["/", "/", "", "/"],
    ["/a", "/", "", "/a"],
    ["/hello/world/", "/hello/world", "/hello/world", "/"],
    ["/hello/worldX", "/hello", "/hello", "/worldX"],
    ["/hello/world/again/hi", "/hello/world/again", "/hello/world/again", "/hi"],
    ["/HELLO", "/", "", "/HELLO"],
    ["/hello//world", "/hello", "/hello", "//world"],
    ["/hello%2Fworld", "/hello/world", "/hello%2Fworld", ""],
    ["/a%20b/x%2Fy", "/a b", "/a%20b", "/x%2Fy"],
    ["/hello?q=/hello/world", "/hello", "/hello", "?q=/hello/world"],
    ["/%zz", "/", "", "/%zz"],
  ])("%s", (target, name, mount, path) => {
    const match = r.match(target)!;
    expect([match.route.name, match.mount, match.path]).toEqual([name, mount, path]);
  });
  it("has no answer for what no prefix covers", () => {
    expect(routes(["/test"]).match("/test2")).toBeUndefined();
    expect(routes(["/test"]).match("*")).toBeUndefined();
    expect(routes(["/"]).match("*")).toBeUndefined();
  });
  it("cuts the root path off where it stands, and lists routes without it", () => {
    const rooted = routes(["/hello"], "/serve");
    expect(rooted.match("/serve/hello/x")).toMatchObject({ mount: "/serve/hello", path: "/x" });
    expect(rooted.match("/hello/x")).toMatchObject({ mount: "/hello", path: "/x" });
    expect(rooted.match("/served/hello")).toBeUndefined();
    expect(rooted.json).toBe('{"/hello":"app0"}');
  });
  it("puts mount and path together to what was asked", () => {
    const segment = fc.constantFrom("hello", "world", "again", "a%20b", "x", "", "%2F", "%E4%BD%A0");
    fc.assert(
      fc.property(fc.array(segment, { maxLength: 6 }), (parts) => {
        const target = `/${parts.join("/")}`;
        const match = r.match(target)!;
        expect(match.mount + match.path).toBe(target);
        expect(decodeURIComponent(match.mount)).toBe(match.route.prefix);
      }),
    );
  });
});

const link = {
  state: "ready",
  draining: false,
  silence: () => 0,
  open: () => {
    throw new Error("not here");
  },
};
function peers(specs: { outstanding?: number; host?: string; full?: boolean; ms?: number }[]): Peer[] {
  return specs.map((spec, i) => {
    const peer = new Peer(`r${i}`, spec.host ?? "other");
    Object.assign(peer, { ready: true, link, inFlight: spec.outstanding ?? 0, full: spec.full ?? false });
    if (spec.ms !== undefined) for (let n = 0; n < 50; n++) peer.measured(spec.ms, 0);
    return peer;
  });
}
const context = (random = () => 0.5) => ({ host: "here", now: 0, random });
const any = { model: "", tried: null };

describe("pick", () => {
  it("takes the least loaded", () => {
    expect(pick(peers([{ outstanding: 3 }, { outstanding: 1 }, { outstanding: 2 }]), 5, any, context())?.replica).toBe(
      "r1",
    );
  });
  it("prefers the local one when equal, whatever the order and chance", () => {
    fc.assert(
      fc.property(
        fc.nat(4),
        fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 20, maxLength: 20 }),
        (local, chances) => {
          let i = 0;
          const all = peers(Array.from({ length: 5 }, (_, n) => ({ host: n === local ? "here" : "other" })));
          expect(
            pick(
              all,
              5,
              any,
              context(() => chances[i++ % 20]!),
            )?.replica,
          ).toBe(`r${local}`);
        },
      ),
    );
  });
  it("breaks ties by chance, evenly", () => {
    let seed = 1;
    const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
    const all = peers([{}, {}, {}, {}]);
    const counts = new Map<string, number>();
    for (let n = 0; n < 4000; n++) {
      const { replica } = pick(all, 5, any, context(random))!;
      counts.set(replica, (counts.get(replica) ?? 0) + 1);
    }
    for (const count of counts.values()) expect(count).toBeGreaterThan(850);
    expect(counts.size).toBe(4);
  });
  it("gives a replica that is four times as fast about four times as much", () => {
    const [fast, slow] = peers([{ ms: 10 }, { ms: 40 }]) as [Peer, Peer];
    for (let n = 0; n < 50; n++) pick([fast, slow], 100, any, context())!.inFlight += 1;
    expect(fast.inFlight / slow.inFlight).toBeGreaterThan(3);
    expect(fast.inFlight / slow.inFlight).toBeLessThan(5);
  });
  it("forgets a speed that is old", () => {
    const [fast, slow] = peers([{ ms: 10, outstanding: 1 }, { ms: 1000 }]) as [Peer, Peer];
    expect(pick([fast, slow], 100, any, context())).toBe(fast);
    expect(pick([fast, slow], 100, any, { ...context(), now: 20_000 })).toBe(slow);
  });
  it("gives something new to one that is silent only when no other has room", () => {
    const silent = { ...link, silence: () => LINK_QUIET_MS + 1 } as unknown as Opener;
    const [a, b] = peers([{}, { outstanding: 4 }]) as [Peer, Peer];
    a.link = silent;
    a.refresh(0);
    expect(pick([a, b], 5, any, context())).toBe(b);
    expect(pick(Array<Peer>(COMPARE_ALL_MAX).fill(a).concat(b), 5, any, context())).toBe(b);
    b.inFlight = 5;
    expect(pick([a, b], 5, any, context())).toBe(a);
    // Heard again.
    b.inFlight = 4;
    a.report(0, 0);
    expect(pick([a, b], 5, any, context())).toBe(a);
  });
  it("never takes one that is full, busy, draining, unlinked or not ready; a tried one only when there is no other", () => {
    const [a, b] = peers([{}, {}]) as [Peer, Peer];
    expect(pick([a, b], 5, { model: "", tried: new Set([a]) }, context())).toBe(b);
    for (const spoil of [
      { inFlight: 5 },
      { full: true },
      { ready: false },
      { link: null },
      { link: { ...link, draining: true } },
      { link: { ...link, doubted: true } },
      { link: { ...link, state: "closed" } },
    ]) {
      const [bad] = peers([{}]) as [Peer];
      Object.assign(bad, spoil);
      expect(pick([bad], 5, any, context())).toBeUndefined();
    }
    expect(pick([a], 5, { model: "", tried: new Set([a]) }, context())).toBe(a);
  });
  it("compares two random ones above a size, and still finds the last free one", () => {
    const all = peers(Array.from({ length: 40 }, (_, i) => ({ outstanding: i === 37 ? 0 : 5 })));
    expect(
      pick(
        all,
        5,
        any,
        context(() => 0.1),
      )?.replica,
    ).toBe("r37");
  });
  it("prefers a replica that has the model, while it has room", () => {
    const [a, b] = peers([{}, { outstanding: 3 }]) as [Peer, Peer];
    b.askedFor("m");
    expect(pick([a, b], 5, { model: "m", tried: null }, context())).toBe(b);
    b.inFlight = 5;
    expect(pick([a, b], 5, { model: "m", tried: null }, context())).toBe(a);
  });
  it("counts what other ingresses have given, until the report is old", () => {
    const [a] = peers([{ outstanding: 1 }]) as [Peer];
    a.report(5, 0);
    expect(a.outstanding).toBe(5);
    expect(pick([a], 5, any, context())).toBeUndefined();
    expect(a.refresh(500)).toBe(false);
    expect(a.refresh(1500)).toBe(true);
    expect(a.outstanding).toBe(1);
  });
});

describe("queue", () => {
  it("is first in, first out; what comes back keeps its place; leaving works anywhere (model)", () => {
    const step = fc.oneof(
      fc.constant("push" as const),
      fc.constant("take" as const),
      fc.constant("back" as const),
      fc.nat(20),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
        const queue = new Queue<{ arrival: number }>();
        let model: { arrival: number }[] = [];
        const out: { arrival: number }[] = [];
        let arrival = 0;
        for (const s of steps) {
          if (s === "push") {
            const item = { arrival: arrival++ };
            queue.push(item);
            model.push(item);
          } else if (s === "take") {
            const first = queue.first();
            expect(first).toBe(model[0]);
            if (first === undefined) continue;
            queue.remove(first);
            out.push(model.shift()!);
          } else if (s === "back") {
            const item = out.pop();
            if (item === undefined) continue;
            queue.putBack(item);
            model = [...model, item].toSorted((a, b) => a.arrival - b.arrival);
          } else {
            const item = model[s];
            if (item === undefined) continue;
            expect(queue.remove(item)).toBe(true);
            model.splice(s, 1);
          }
          expect(queue.length).toBe(model.length);
        }
        expect(queue.drain()).toEqual(model);
      }),
    );
  });
});

describe("retry budget", () => {
  it("allows ten and a fifth of the window's traffic, and forgets", () => {
    const budget = new RetryBudget();
    for (let i = 0; i < 100; i++) budget.request(i * 10);
    let taken = 0;
    while (budget.take(1000, 0)) taken += 1;
    expect(taken).toBe(30);
    expect(budget.take(10_500, 0)).toBe(false);
    expect(budget.take(12_000, 0)).toBe(true);
  });
});
