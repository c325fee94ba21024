import { expect, expectTypeOf, test, vi } from "vitest";
import { BATCH_PIECES_AHEAD } from "../../protocol/limits.ts";
import { RequestContext } from "../../serve/context.ts";
import { BATCH_END, SkeinError, batch, multiplexed } from "../../serve/index.ts";

const contextOf = (model = ""): RequestContext =>
  new RequestContext({ deadline: null, requestId: "r", multiplexedModelId: model, replica: {} as never, hops: 0 });

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
  await expect(wrong([])).rejects.toThrow(
    "Batched function doesn't preserve batch size. The input list has length 1 but the returned list has length 0.",
  );
  const generator = async function* (xs: number[]) {
    yield xs;
  };
  await expect(batch(((xs: number[]) => generator(xs)) as never)(1)).rejects.toThrow(/option \{ stream: true \}/);
  const some = batch(async (xs: number[]) => xs.map((x) => (x === 1 ? new Error("only this one") : x)), {
    batchWaitTimeoutS: 0,
  });
  const [zero, one] = await Promise.allSettled([some(0), some(1)]);
  expect(zero).toMatchObject({ status: "fulfilled", value: 0 });
  expect(one).toMatchObject({ status: "rejected", reason: { message: "only this one" } });
});

test("batches never mix models; who is called off while waiting is left out", async () => {
  const seen: string[][] = [];
  const run = batch(async (xs: string[]) => (seen.push(xs), xs), { batchWaitTimeoutS: 0.005 });
  const gone = contextOf("a");
  const calls = [
    run.within(contextOf("a"))("1"),
    run.within(contextOf("b"))("2"),
    run.within(gone)("3"),
    run.within(contextOf("a"))("4"),
  ];
  gone.cancel(new SkeinError("CANCELLED", "left"));
  expect((await Promise.allSettled(calls)).map((c) => (c.status === "fulfilled" ? c.value : c.reason.message))).toEqual(
    ["1", "2", "left", "4"],
  );
  expect(seen).toEqual([["1", "4"], ["2"]]);
});

test("a batched generator gives each caller its column", async () => {
  const sizes: number[] = [];
  const count = batch(
    async function* (xs: string[]) {
      sizes.push(xs.length);
      for (let i = 0; i < 3; i++) yield xs.map((x) => `${x}:${i}`);
    },
    { maxBatchSize: 2 },
  );
  expectTypeOf(count).returns.toEqualTypeOf<AsyncGenerator<string, void, undefined>>();
  const columns = await Promise.all(["a", "b", "c"].map((x) => Array.fromAsync(count(x))));
  expect(columns).toEqual(["a", "b", "c"].map((x) => [`${x}:0`, `${x}:1`, `${x}:2`]));
  expect(sizes).toEqual([2, 1]);
  const returned = batch((xs: string[]) => [xs, xs][Symbol.iterator]() as Generator<string[]>, { stream: true });
  expect(await Array.fromAsync(returned("x"))).toEqual(["x", "x"]);
});

test("one caller's stream ends or fails without the others'; a wrong list fails all after what was right", async () => {
  const pieces = batch(async function* (xs: string[]) {
    yield xs;
    yield xs.map((x) => (x === "ends" ? BATCH_END : x === "fails" ? new Error("only this one") : x));
    yield xs;
  });
  expectTypeOf(pieces).returns.toEqualTypeOf<AsyncGenerator<string, void, undefined>>();
  const [ends, fails, stays] = await Promise.allSettled(
    ["ends", "fails", "stays"].map((x) => Array.fromAsync(pieces(x))),
  );
  expect(ends).toMatchObject({ value: ["ends"] });
  expect(fails).toMatchObject({ reason: { message: "only this one" } });
  expect(stays).toMatchObject({ value: ["stays", "stays", "stays"] });

  let closed = false;
  const short = batch(async function* (xs: string[]) {
    try {
      yield xs;
      yield xs.slice(1);
    } finally {
      closed = true;
    }
  });
  const read = async (x: string): Promise<unknown[]> => {
    const got: unknown[] = [];
    try {
      for await (const piece of short(x)) got.push(piece);
    } catch (error) {
      got.push((error as Error).message);
    }
    return got;
  };
  const message =
    "Batched function doesn't preserve batch size. The input list has length 2 but the returned list has length 1.";
  expect(await Promise.all([read("0"), read("1")])).toEqual([
    ["0", message],
    ["1", message],
  ]);
  expect(closed).toBe(true);
});

test("a batched generator ends when every caller has left, and waits for one that doesn't read", async () => {
  let made = 0;
  let closed = false;
  const endless = batch(async function* (xs: number[]) {
    try {
      for (;;) {
        made++;
        yield xs;
      }
    } finally {
      closed = true;
    }
  });
  const gone = contextOf();
  const [first, second] = [endless(1), endless.within(gone)(2)];
  const pending = [first.next(), second.next()];
  expect((await Promise.all(pending)).map(({ value }) => value)).toEqual([1, 2]);
  // One reads on, the other doesn't: the generator comes to rest.
  for (let i = 0; i < BATCH_PIECES_AHEAD; i++) await first.next();
  const blocked = first.next();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(made).toBe(BATCH_PIECES_AHEAD + 1);
  gone.cancel(new SkeinError("CANCELLED", "left"));
  expect((await blocked).value).toBe(1);
  await first.return();
  await vi.waitFor(() => expect(closed).toBe(true));
  await expect(Array.fromAsync(second)).rejects.toThrow("left");
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
