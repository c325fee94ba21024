/** Local testing against what a mesh does: values, streams, composition, errors, cancellation, context. */
import { expect, test, vi } from "vitest";
import {
  deployment,
  getContext,
  getMultiplexedModelId,
  getReplicaContext,
  localTesting,
  SkeinError,
  type Context,
  type DeploymentHandle,
} from "../../serve/index.ts";

const log: string[] = [];

class Leaf {
  double(n: number) {
    return n * 2;
  }
  async *endless(ctx: Context) {
    ctx.signal.addEventListener("abort", () => void log.push("signal"));
    try {
      for (let i = 0; ; i++) {
        yield i;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    } finally {
      log.push("return");
    }
  }
  async *stuck(ctx: Context) {
    yield "first";
    await new Promise((_, reject) => ctx.signal.addEventListener("abort", () => reject(ctx.signal.reason as Error)));
  }
  async *broken() {
    yield 1;
    throw new RangeError("inner detail");
  }
  boom(): never {
    throw new RangeError("inner detail");
  }
  refuse(): never {
    throw new SkeinError("NOT_FOUND", "no such thing");
  }
  who() {
    return [getReplicaContext().deployment, getMultiplexedModelId(), getContext().requestId];
  }
}
class Parent {
  readonly leaf: DeploymentHandle<Leaf>;
  constructor(leaf: DeploymentHandle<Leaf>) {
    this.leaf = leaf;
  }
  async quadruple(n: number) {
    return this.leaf.double(this.leaf.double(n));
  }
  async *firstOf(count: number, ctx: Context) {
    for await (const i of ctx.call(this.leaf).endless())
      if (i < count) yield i;
      else return;
  }
  async waits(ctx: Context) {
    for await (const _ of ctx.call(this.leaf).stuck());
  }
  requestIds(ctx: Context) {
    return Promise.all([
      ctx.requestId,
      ctx
        .call(this.leaf)
        .who()
        .then((who) => who[2]),
    ]);
  }
}
const parent = () => localTesting(deployment(Parent).bind(deployment(Leaf).bind()));
const leaf = () => localTesting(deployment(Leaf).bind());

test("values and streams go through handles of handles", async () => {
  const handle = await parent();
  expect(await handle.quadruple(3)).toBe(12);
  expect(await Array.fromAsync(handle.firstOf(3))).toEqual([0, 1, 2]);
});

test("what user code throws arrives as over a mesh, with the original as its cause", async () => {
  const handle = await leaf();
  const error = await handle.boom().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(SkeinError);
  expect(error).toMatchObject({ code: "APPLICATION_ERROR", message: "RangeError: inner detail" });
  expect((error as SkeinError).cause).toBeInstanceOf(RangeError);
  await expect(Promise.resolve(handle.refuse())).rejects.toMatchObject({ code: "NOT_FOUND", message: "no such thing" });
  const got: number[] = [];
  await expect(
    (async () => {
      for await (const i of handle.broken()) got.push(i);
    })(),
  ).rejects.toMatchObject({ code: "APPLICATION_ERROR", message: "RangeError: inner detail" });
  expect(got).toEqual([1]);
});

test("who leaves a stream aborts its signal, then ends its generator", async () => {
  log.length = 0;
  const handle = await leaf();
  for await (const i of handle.endless()) if (i === 2) break;
  await vi.waitFor(() => expect(log).toEqual(["signal", "return"]));
});

test("cancel() reaches a generator that waits, and through a handle of a handle", async () => {
  const handle = await leaf();
  const stuck = handle.stuck();
  const pieces = stuck[Symbol.asyncIterator]();
  expect((await pieces.next()).value).toBe("first");
  const next = pieces.next();
  stuck.cancel();
  await expect(next).rejects.toMatchObject({ code: "CANCELLED" });

  const above = await parent();
  const waiting = above.waits();
  await Promise.resolve();
  waiting.cancel();
  await expect(Promise.resolve(waiting)).rejects.toMatchObject({ code: "CANCELLED" });
});

test("ambient getters work, and a request keeps its id on the way", async () => {
  const handle = await leaf();
  const [who, model] = await handle.options({ multiplexedModelId: "m1" }).who();
  expect([who, model]).toEqual(["Leaf", "m1"]);
  const [first, second] = await (await parent()).requestIds();
  expect(second).toBe(first);
});
