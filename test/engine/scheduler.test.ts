import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type SequenceView, nextStep } from "../../engine/scheduler.ts";

interface Job {
  id: number;
  length: number;
  cached: number;
  slot: number | undefined;
  paused: boolean;
  /** Tokens still to generate. */
  left: number;
  /** Steps since it last got on, while it wanted to. */
  waited: number;
}

const view = (part: Partial<SequenceView> & { id: number }): SequenceView => ({
  length: 5,
  cached: 0,
  slot: undefined,
  paused: false,
  ...part,
});
const budget = { slots: 4, prefillChunk: 4 };

describe("nextStep", () => {
  test("nothing to do is idle", () => {
    expect(nextStep([], budget, "decode")).toEqual({ kind: "idle" });
    expect(nextStep([view({ id: 1, paused: true })], budget, "decode")).toEqual({ kind: "idle" });
    expect(nextStep([view({ id: 1, cached: 4, slot: 0, paused: true })], budget, "decode")).toEqual({ kind: "idle" });
  });

  test("a prompt goes in chunks, taking turns with the batch", () => {
    const running = view({ id: 1, cached: 4, slot: 0 });
    const fresh = view({ id: 2, length: 9 });
    expect(nextStep([running, fresh], budget, "decode")).toEqual({
      kind: "prefill",
      id: 2,
      slot: 1,
      start: 0,
      count: 4,
    });
    const half = { ...fresh, slot: 1, cached: 4 };
    expect(nextStep([running, half], budget, "prefill")).toEqual({ kind: "decode", rows: [1] });
    expect(nextStep([half], budget, "prefill")).toEqual({ kind: "prefill", id: 2, slot: 1, start: 4, count: 4 });
  });

  test("one decode step serves all that are ready; others are filler", () => {
    const rows = [0, 1, 2].map((slot) => view({ id: slot + 1, cached: 4, slot, paused: slot === 1 }));
    expect(nextStep(rows, budget, "prefill")).toEqual({ kind: "decode", rows: [1, undefined, 3] });
  });

  test("a hole is closed by moving the last row, unless someone waits for a slot", () => {
    const rows = [0, 2, 3].map((slot) => view({ id: slot, cached: 4, slot }));
    expect(nextStep(rows, budget, "decode")).toEqual({ kind: "move", id: 3, from: 3, to: 1, length: 4 });
    expect(nextStep([...rows, view({ id: 9 })], budget, "decode")).toMatchObject({ kind: "prefill", id: 9, slot: 1 });
  });

  test("a paused sequence gives way only when a slot is wanted and none is free", () => {
    const rows = [0, 1, 2, 3].map((slot) => view({ id: slot, cached: 4, slot, paused: slot === 2 }));
    expect(nextStep(rows, budget, "prefill")).toMatchObject({ kind: "decode" });
    expect(nextStep([...rows, view({ id: 9, paused: true })], budget, "prefill")).toMatchObject({ kind: "decode" });
    expect(nextStep([...rows, view({ id: 9 })], budget, "prefill")).toEqual({ kind: "evict", id: 2 });
    const busy = rows.map((row) => ({ ...row, paused: false }));
    expect(nextStep([...busy, view({ id: 9 })], budget, "decode")).toMatchObject({ kind: "decode" });
  });
});

const event = fc.oneof(
  fc.record({
    kind: fc.constant("arrive" as const),
    length: fc.integer({ min: 1, max: 20 }),
    left: fc.integer({ min: 1, max: 12 }),
  }),
  fc.record({ kind: fc.constant("cancel" as const), pick: fc.nat() }),
  fc.record({ kind: fc.constant("toggle" as const), pick: fc.nat() }),
  fc.record({ kind: fc.constant("steps" as const), count: fc.integer({ min: 1, max: 6 }) }),
);

test("whatever comes: every step is legal, no slot is shared or leaked, everyone who can gets on in bounded time, all end", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 6 }),
      fc.array(event, { maxLength: 60 }),
      (slots, prefillChunk, events) => {
        let jobs: Job[] = [];
        let previous: "prefill" | "decode" = "decode";
        let nextId = 0;

        const gotOn = (job: Job): void => {
          job.waited = 0;
          if (job.cached < job.length) return;
          job.length++;
          if (--job.left === 0) jobs = jobs.filter((other) => other !== job);
        };
        const step = (): boolean => {
          const next = nextStep(jobs, { slots, prefillChunk }, previous);
          const job = "id" in next ? jobs.find((candidate) => candidate.id === next.id)! : undefined;
          const isFree = (slot: number): boolean => jobs.every((other) => other === job || other.slot !== slot);
          for (const waiting of jobs) waiting.waited = waiting.paused ? 0 : waiting.waited + 1;
          switch (next.kind) {
            case "idle":
              return false;
            case "prefill":
              expect(job!.paused).toBe(false);
              expect(next.start).toBe(job!.cached);
              expect(next.count).toBeGreaterThan(0);
              expect(next.count).toBeLessThanOrEqual(Math.min(prefillChunk, job!.length - job!.cached));
              expect(job!.slot ?? next.slot).toBe(next.slot);
              expect(next.slot).toBeLessThan(slots);
              expect(isFree(next.slot)).toBe(true);
              job!.slot = next.slot;
              job!.cached += next.count;
              previous = "prefill";
              gotOn(job!);
              break;
            case "decode":
              expect(next.rows.at(-1)).toBeDefined();
              for (const [row, id] of next.rows.entries()) {
                if (id === undefined) continue;
                const member = jobs.find((candidate) => candidate.id === id)!;
                expect(member).toMatchObject({ slot: row, paused: false, cached: member.length - 1 });
                member.cached++;
                gotOn(member);
              }
              previous = "decode";
              break;
            case "move":
              expect(next).toMatchObject({ from: job!.slot, length: job!.cached });
              expect(isFree(next.to)).toBe(true);
              expect(next.to).toBeLessThan(next.from);
              job!.slot = next.to;
              break;
            case "evict":
              expect(job!.paused).toBe(true);
              job!.slot = undefined;
              job!.cached = 0;
              jobs = [...jobs.filter((other) => other !== job), job!];
          }
          const used = jobs.flatMap((other) => (other.slot === undefined ? [] : [other.slot]));
          expect(new Set(used).size).toBe(used.length);
          // Longest possible queue before it: every job's whole remaining prefill and decoding, with turns, moves and evictions.
          for (const waiting of jobs) expect(waiting.waited).toBeLessThan(200 * (jobs.length + 1));
          return true;
        };

        for (const happened of events) {
          const picked = "pick" in happened && jobs.length > 0 ? jobs[happened.pick % jobs.length] : undefined;
          if (happened.kind === "arrive")
            jobs.push({
              id: nextId++,
              length: happened.length,
              cached: 0,
              slot: undefined,
              paused: false,
              left: happened.left,
              waited: 0,
            });
          else if (happened.kind === "cancel") jobs = jobs.filter((job) => job !== picked);
          else if (happened.kind === "toggle" && picked) picked.paused = !picked.paused;
          else if (happened.kind === "steps") for (let i = 0; i < happened.count; i++) step();
        }
        for (const job of jobs) job.paused = false;
        let steps = 0;
        while (step()) expect(++steps).toBeLessThan(10_000);
        expect(jobs).toEqual([]);
      },
    ),
    { numRuns: 500 },
  );
});
