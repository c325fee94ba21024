import fc from "../support/fast-check.ts";
import { describe, expect, test } from "vitest";
import { type KeptView, placement } from "../../engine/placement.ts";
import { type SchedulerBudget, type SequenceView, type Step, nextStep, prefillCost } from "../../engine/scheduler.ts";

const view = (part: Partial<SequenceView> & { id: number }): SequenceView => ({
  length: 5,
  cached: 0,
  slot: undefined,
  paused: false,
  caller: "",
  waitingSince: 0,
  runningSince: part.slot === undefined ? undefined : 0,
  ...part,
});
const budget: SchedulerBudget = {
  slots: 4,
  prefillChunk: 4,
  prefillBesideDecode: 3,
  prefillRunCost: 1,
  patienceMs: 1000,
};
const step = (
  sequences: readonly SequenceView[],
  part: { spent?: number; now?: number; kept?: KeptView[]; served?: [string, number][] } = {},
): Step =>
  nextStep(sequences, part.kept ?? [], budget, {
    spent: part.spent ?? 0,
    now: part.now ?? 0,
    servedAt: new Map(part.served),
  });

describe("nextStep", () => {
  test("nothing to do is idle", () => {
    expect(step([])).toEqual({ kind: "idle" });
    expect(step([view({ id: 1, paused: true })])).toEqual({ kind: "idle" });
    expect(step([view({ id: 1, cached: 4, slot: 0, paused: true })])).toEqual({ kind: "idle" });
  });

  test("a prompt goes in chunks; beside running streams only as many tokens as the budget allows between two decode steps", () => {
    const running = view({ id: 1, cached: 4, slot: 0 });
    const fresh = view({ id: 2, length: 9 });
    expect(step([running, fresh])).toEqual({ kind: "admit", id: 2 });
    const begun = { ...fresh, slot: 1 };
    expect(step([begun])).toEqual({ kind: "prefill", id: 2, start: 0, count: 4 });
    expect(step([running, begun])).toEqual({ kind: "prefill", id: 2, start: 0, count: 3 });
    expect(step([running, begun], { spent: 2 })).toEqual({ kind: "prefill", id: 2, start: 0, count: 1 });
    expect(step([running, begun], { spent: 3 })).toEqual({ kind: "decode", rows: [1] });
    expect(step([running, fresh], { spent: 3 })).toEqual({ kind: "decode", rows: [1] });
    expect(step([begun], { spent: 99 })).toMatchObject({ kind: "prefill" });
    const dear = { ...begun, tokenCost: 2 };
    expect(step([running, dear])).toMatchObject({ kind: "prefill", count: 1 });
    expect(step([dear])).toMatchObject({ kind: "prefill", count: 2 });
    expect(prefillCost(3, budget, 2)).toBe(6 + budget.prefillRunCost);
  });

  test("a run too short to be worth its cost waits for the next turn, unless nothing more is missing", () => {
    const running = view({ id: 1, cached: 4, slot: 0 });
    const next = (length: number, spent: number): Step =>
      nextStep(
        [running, view({ id: 2, length, slot: 1 })],
        [],
        { ...budget, prefillRunCost: 2 },
        { spent, now: 0, servedAt: new Map() },
      );
    expect(next(9, 2)).toMatchObject({ kind: "decode" });
    expect(next(9, 1)).toMatchObject({ kind: "prefill", count: 2 });
    expect(prefillCost(7, { ...budget, prefillRunCost: 2 })).toBe(9);
  });

  test("one decode step serves all that are ready; others are filler", () => {
    const rows = [0, 1, 2].map((slot) => view({ id: slot + 1, cached: 4, slot, paused: slot === 1 }));
    expect(step(rows)).toEqual({ kind: "decode", rows: [1, undefined, 3] });
  });

  test("a hole is closed by moving the last row, unless someone waits for a slot", () => {
    const rows = [0, 2, 3].map((slot) => view({ id: slot, cached: 4, slot }));
    expect(step(rows)).toEqual({ kind: "move", id: 3, from: 3, to: 1, length: 4 });
    expect(step([...rows, view({ id: 9 })])).toMatchObject({ kind: "admit", id: 9 });
  });

  test("what is kept in a hole goes to an empty slot or over something older, else it is lost", () => {
    const row = view({ id: 1, cached: 4, slot: 1 });
    const kept = (slot: number, usedAt: number): KeptView => ({ slot, length: 7, usedAt });
    expect(step([row], { kept: [kept(0, 1)] })).toEqual({ kind: "move", id: undefined, from: 0, to: 2, length: 7 });
    const full = [kept(0, 2), kept(2, 3), kept(3, 1)];
    expect(step([row], { kept: full })).toEqual({ kind: "move", id: undefined, from: 0, to: 3, length: 7 });
    expect(step([row], { kept: [kept(0, 1), kept(2, 2), kept(3, 3)] })).toMatchObject({ id: 1, from: 1, to: 0 });
  });

  test("before patience ends, callers with fewer slots come first; then who has waited longest", () => {
    const greedy = [0, 1].map((slot) => view({ id: slot, cached: 4, slot, caller: "a" }));
    const queue = [
      view({ id: 5, caller: "a", waitingSince: 10 }),
      view({ id: 6, caller: "b", waitingSince: 20 }),
      view({ id: 7, caller: "b", waitingSince: 15 }),
    ];
    expect(step([...greedy, ...queue], { now: 30 })).toEqual({ kind: "admit", id: 7 });
    expect(step([...greedy, ...queue], { now: 1_010 })).toEqual({ kind: "admit", id: 5 });
    const served: [string, number][] = [
      ["a", 5],
      ["b", 9],
    ];
    expect(step(queue, { now: 30, served })).toEqual({ kind: "admit", id: 5 });
    expect(step(queue, { now: 30, served: [["a", 5]] })).toEqual({ kind: "admit", id: 7 });
  });

  test("a paused sequence gives way only when a slot is wanted and none is free", () => {
    const rows = [0, 1, 2, 3].map((slot) => view({ id: slot, cached: 4, slot, paused: slot === 2 }));
    expect(step(rows)).toMatchObject({ kind: "decode" });
    expect(step([...rows, view({ id: 9, paused: true })])).toMatchObject({ kind: "decode" });
    expect(step([...rows, view({ id: 9 })])).toEqual({ kind: "evict", id: 2 });
    const busy = rows.map((row) => ({ ...row, paused: false }));
    expect(step([...busy, view({ id: 9 })])).toMatchObject({ kind: "decode" });
  });

  test("who waits too long gets the slot of one that has run as long: of the caller with most slots, the longest", () => {
    const rows = [0, 1, 2, 3].map((slot) =>
      view({ id: slot, cached: 4, slot, caller: slot === 0 ? "a" : "b", runningSince: 10 * (4 - slot) }),
    );
    const late = view({ id: 9, caller: "c", waitingSince: 0 });
    expect(step([...rows, late], { now: 999 })).toMatchObject({ kind: "decode" });
    expect(step([...rows, late], { now: 2_000 })).toEqual({ kind: "evict", id: 3 });
    const fresh = rows.map((row) => ({ ...row, runningSince: 1_500 }));
    expect(step([...fresh, late], { now: 2_000 })).toMatchObject({ kind: "decode" });
  });
});

describe("placement", () => {
  const kept = (slot: number, length: number, usedAt: number): KeptView => ({ slot, length, usedAt });
  test("takes over what is used whole, copies what is used in part, from live slots too", () => {
    const held = new Set([0]);
    const all = [kept(1, 20, 5), kept(2, 30, 1)];
    const at = (slot: number, from: number, length: number, refuge?: number) => ({ slot, from, length, refuge });
    expect(placement(4, held, all, { slot: 1, length: 20 })).toEqual(at(1, 1, 20));
    // The lowest slot; what was there goes to the empty one.
    expect(placement(4, held, all, { slot: 1, length: 9 })).toEqual(at(1, 1, 9, 3));
    expect(placement(4, held, all, { slot: 2, length: 9 })).toEqual(at(1, 2, 9, 3));
    expect(placement(4, held, all, { slot: 0, length: 9 })).toEqual(at(1, 0, 9, 3));
    // Nothing is empty: over the oldest.
    expect(placement(3, held, all, { slot: 1, length: 9 })).toEqual(at(1, 1, 9, 2));
    expect(placement(3, held, all, { slot: 2, length: 9 })).toEqual(at(2, 2, 9));
    expect(placement(3, held, all, undefined)).toEqual(at(1, 1, 0, 2));
    expect(placement(3, held, [kept(1, 20, 1), kept(2, 30, 5)], undefined)).toEqual(at(1, 1, 0));
    expect(placement(3, held, [kept(2, 30, 5)], undefined)).toEqual(at(1, 1, 0));
    expect(placement(1, held, [], undefined)).toBeUndefined();
  });
});

interface Job extends SequenceView {
  length: number;
  cached: number;
  slot: number | undefined;
  paused: boolean;
  waitingSince: number;
  runningSince: number | undefined;
  /** Tokens still to generate. */
  left: number;
  /** Time since it last got on, while it wanted to. */
  waited: number;
}

const event = fc.oneof(
  fc.record({
    kind: fc.constant("arrive" as const),
    length: fc.integer({ min: 1, max: 20 }),
    left: fc.integer({ min: 1, max: 12 }),
    caller: fc.constantFrom("a", "b", "c"),
  }),
  fc.record({ kind: fc.constant("cancel" as const), pick: fc.nat() }),
  fc.record({ kind: fc.constant("toggle" as const), pick: fc.nat() }),
  fc.record({ kind: fc.constant("steps" as const), count: fc.integer({ min: 1, max: 6 }) }),
);

/** What a step costs in the test's time: a run of the model, or a copy. */
const RUN_MS = 10;
const COPY_MS = 1;

test("whatever comes: every step is legal, no slot is shared or leaked, order is fair, nobody starves, all end", () => {
  fc.assert(
    fc.property(
      fc.record({
        slots: fc.integer({ min: 1, max: 4 }),
        prefillChunk: fc.integer({ min: 1, max: 6 }),
        prefillBesideDecode: fc.integer({ min: 1, max: 6 }),
        prefillRunCost: fc.integer({ min: 1, max: 3 }),
        patienceMs: fc.integer({ min: 20, max: 500 }),
      }),
      fc.array(event, { maxLength: 60 }),
      (limits, events) => {
        const { slots, patienceMs } = limits;
        let jobs: Job[] = [];
        let kept: KeptView[] = [];
        const servedAt = new Map<string, number>();
        let spent = 0;
        let now = 0;
        let sinceDecode = 0;
        let nextId = 0;
        let uses = 0;

        const leave = (job: Job): void => {
          if (job.slot !== undefined && job.cached > 0)
            kept.push({ slot: job.slot, length: job.cached, usedAt: ++uses });
        };
        const gotOn = (job: Job): void => {
          job.waited = 0;
          if (job.cached < job.length) return;
          job.runningSince ??= now;
          job.length++;
          if (--job.left > 0) return;
          jobs = jobs.filter((other) => other !== job);
          leave(job);
        };
        const longestWait = (): number =>
          Math.max(
            0,
            ...jobs.flatMap((job) => (job.slot === undefined && !job.paused ? [now - job.waitingSince] : [])),
          );
        const elapse = (ms: number): void => {
          now += ms;
          for (const job of jobs) job.waited = job.paused ? 0 : job.waited + ms;
        };
        const run = (): boolean => {
          const next = nextStep(jobs, kept, limits, { spent, now, servedAt });
          const job = "id" in next ? jobs.find((candidate) => candidate.id === next.id) : undefined;
          const isHeld = (slot: number): boolean => jobs.some((other) => other !== job && other.slot === slot);
          const ready = jobs.filter(
            (other) => other.slot !== undefined && !other.paused && other.cached === other.length - 1,
          );
          switch (next.kind) {
            case "idle":
              expect(jobs.every(({ paused }) => paused)).toBe(true);
              return false;
            case "admit": {
              expect(job).toMatchObject({ slot: undefined, paused: false });
              const wait = longestWait();
              if (wait >= patienceMs) expect(now - job!.waitingSince).toBe(wait);
              const live = new Set(jobs.flatMap((other) => (other.slot === undefined ? [] : [other.slot])));
              // Whoever comes may share a beginning with anything that is there.
              const from = [
                ...kept,
                ...jobs.flatMap(({ slot, cached }) => (slot === undefined ? [] : [{ slot, length: cached }])),
              ][(next.id * 7) % (kept.length + live.size + 1)];
              const length = Math.min(from?.length ?? 0, job!.length - 1);
              const place = placement(slots, live, kept, length > 0 ? { slot: from!.slot, length } : undefined)!;
              expect(isHeld(place.slot)).toBe(false);
              expect(place.slot).toBeLessThan(slots);
              expect(place.length).toBe(length);
              if (place.refuge !== undefined) {
                expect(isHeld(place.refuge)).toBe(false);
                expect(place.from).not.toBe(place.refuge);
                kept = kept
                  .filter(({ slot }) => slot !== place.refuge)
                  .map((other) => (other.slot === place.slot ? { ...other, slot: place.refuge! } : other));
              }
              kept = kept.filter(({ slot }) => slot !== place.slot);
              servedAt.set(job!.caller, now);
              elapse(COPY_MS);
              Object.assign(job!, { slot: place.slot, cached: place.length });
              break;
            }
            case "prefill":
              expect(job!.paused).toBe(false);
              expect(job!.slot).toBeDefined();
              expect(next.start).toBe(job!.cached);
              expect(next.count).toBeGreaterThan(0);
              expect(next.count).toBeLessThanOrEqual(Math.min(limits.prefillChunk, job!.length - job!.cached));
              spent += prefillCost(next.count, limits);
              sinceDecode = ready.length > 0 ? sinceDecode + prefillCost(next.count, limits) : 0;
              // What running streams wait for: as long as one run of the budget's tokens, never more.
              expect(sinceDecode).toBeLessThanOrEqual(prefillCost(limits.prefillBesideDecode, limits));
              job!.cached += next.count;
              elapse(RUN_MS);
              gotOn(job!);
              break;
            case "decode":
              expect(next.rows.at(-1)).toBeDefined();
              expect(new Set(next.rows.filter((id) => id !== undefined))).toEqual(new Set(ready.map(({ id }) => id)));
              spent = 0;
              sinceDecode = 0;
              elapse(RUN_MS);
              for (const [row, id] of next.rows.entries()) {
                if (id === undefined) continue;
                const member = jobs.find((candidate) => candidate.id === id)!;
                expect(member).toMatchObject({ slot: row, paused: false, cached: member.length - 1 });
                member.cached++;
                gotOn(member);
              }
              break;
            case "move":
              expect(isHeld(next.to)).toBe(false);
              if (job === undefined) {
                expect(kept.find(({ slot }) => slot === next.from)).toMatchObject({ length: next.length });
                kept = kept
                  .filter(({ slot }) => slot !== next.to)
                  .map((other) => (other.slot === next.from ? { ...other, slot: next.to } : other));
              } else {
                expect(next).toMatchObject({ from: job.slot, length: job.cached });
                expect(next.to).toBeLessThan(next.from);
                kept = kept.filter(({ slot }) => slot !== next.to);
                job.slot = next.to;
              }
              elapse(COPY_MS);
              break;
            case "evict":
              expect(jobs.some((other) => other.slot === undefined && !other.paused)).toBe(true);
              if (!job!.paused) {
                expect(now - job!.runningSince!).toBeGreaterThanOrEqual(patienceMs);
                expect(longestWait()).toBeGreaterThanOrEqual(patienceMs);
              }
              leave(job!);
              Object.assign(job!, { slot: undefined, cached: 0, waitingSince: now, runningSince: undefined });
          }
          const used = [
            ...jobs.flatMap(({ slot }) => (slot === undefined ? [] : [slot])),
            ...kept.map(({ slot }) => slot),
          ];
          expect(new Set(used).size).toBe(used.length);
          for (const { slot, cached, length } of jobs) expect(cached).toBeLessThan(slot === undefined ? 1 : length);
          // Everyone before it in the line, each for a prompt of 32 tokens one by one and its patience, with decode steps and copies between.
          for (const waiting of jobs)
            expect(waiting.waited).toBeLessThan((jobs.length + 1) * (32 * 4 * RUN_MS + patienceMs));
          return true;
        };

        for (const happened of events) {
          const picked = "pick" in happened && jobs.length > 0 ? jobs[happened.pick % jobs.length] : undefined;
          if (happened.kind === "arrive") {
            const { length, left, caller } = happened;
            jobs.push({ ...view({ id: nextId++, length, caller, waitingSince: now }), left, waited: 0 });
          } else if (happened.kind === "cancel" && picked) {
            jobs = jobs.filter((job) => job !== picked);
            leave(picked);
          } else if (happened.kind === "toggle" && picked) picked.paused = !picked.paused;
          else if (happened.kind === "steps") for (let i = 0; i < happened.count; i++) run();
        }
        for (const job of jobs) job.paused = false;
        let steps = 0;
        while (run()) expect(++steps).toBeLessThan(10_000);
        expect(jobs).toEqual([]);
      },
    ),
    { numRuns: 500 },
  );
});
