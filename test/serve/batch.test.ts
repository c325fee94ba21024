import { expect, test, vi } from "vitest";
import { batch, multiplexed } from "../../serve/index.ts";

test("calls of one turn run as batches of at most the size, in order", async () => {
  const sizes: number[] = [];
  const double = batch(async (xs: number[]) => (sizes.push(xs.length), xs.map((x) => x * 2)), {
    maxBatchSize: 4,
    batchWaitTimeoutS: 0.001,
  });
  expect(await Promise.all([1, 2, 3, 4, 5, 6].map(double))).toEqual([2, 4, 6, 8, 10, 12]);
  expect(sizes).toEqual([4, 2]);
});

test("a batch waits its time for others, no longer", async () => {
  vi.useFakeTimers();
  try {
    const run = vi.fn(async (xs: string[]) => xs);
    const one = batch(run, { batchWaitTimeoutS: 0.5 });
    const a = one("a");
    await vi.advanceTimersByTimeAsync(499);
    expect(run).not.toHaveBeenCalled();
    const b = one("b");
    await vi.advanceTimersByTimeAsync(1);
    expect(await Promise.all([a, b])).toEqual(["a", "b"]);
    expect(run).toHaveBeenCalledTimes(1);
    const full = batch(run, { maxBatchSize: 2, batchWaitTimeoutS: 1000 });
    expect(await Promise.all([full("c"), full("d")])).toEqual(["c", "d"]);
  } finally {
    vi.useRealTimers();
  }
});

test("a wrong result rejects every call; an Error in the list only its own", async () => {
  const wrong = (result: unknown) => batch(async (_: number[]) => result as number[], { batchWaitTimeoutS: 0 })(1);
  await expect(wrong("abc")).rejects.toThrow(/must return a list, but returned string/);
  await expect(wrong([])).rejects.toThrow(/same length/);
  const some = batch(async (xs: number[]) => xs.map((x) => (x === 1 ? new Error("only this one") : x)), {
    batchWaitTimeoutS: 0,
  });
  const [zero, one] = await Promise.allSettled([some(0), some(1)]);
  expect(zero).toMatchObject({ status: "fulfilled", value: 0 });
  expect(one).toMatchObject({ status: "rejected", reason: { message: "only this one" } });
});

test("multiplexed loads once, keeps the latest used and disposes who leaves; failures aren't kept", async () => {
  const log: string[] = [];
  const get = multiplexed(
    async (id) => {
      log.push(`load ${id}`);
      if (id === "bad" && log.filter((l) => l === "load bad").length === 1) throw new Error("no such model");
      return { id, [Symbol.asyncDispose]: async () => void log.push(`dispose ${id}`) };
    },
    { maxNumModelsPerReplica: 2 },
  );
  const [a, again] = await Promise.all([get("a"), get("a")]);
  expect(a).toBe(again);
  await get("b");
  await get("a");
  await get("c");
  expect(log).toEqual(["load a", "load b", "load c", "dispose b"]);
  await expect(get("bad")).rejects.toThrow("no such model");
  expect((await get("bad")).id).toBe("bad");
  await expect(get("")).rejects.toThrow(/names no model/);
});
