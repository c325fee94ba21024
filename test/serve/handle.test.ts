import { expect, expectTypeOf, test } from "vitest";
import { SkeinError } from "../../protocol/errors.ts";
import { RequestContext, type Context } from "../../serve/context.ts";
import { makeHandle, type Call, type Caller, type DeploymentHandle } from "../../serve/handle.ts";
import { deployment, localTesting, type DeploymentResponse } from "../../serve/index.ts";

class Target {
  seen: string[] = [];
  async add(a: number, b = 1) {
    this.seen.push(`add ${a}`);
    return a + b;
  }
  async *count(n: number) {
    for (let i = 0; i < n; i++) yield i;
  }
  requestId(context: Context) {
    return context.requestId;
  }
  async slow(context: Context) {
    await new Promise((_, reject) => context.signal.addEventListener("abort", () => reject(context.signal.reason)));
  }
  boom(): never {
    throw new RangeError("inner detail");
  }
  log() {
    return this.seen;
  }
  _private() {
    return "no";
  }
}

const target = () => localTesting(deployment(Target).bind());

test("awaiting gives the value, iterating gives the elements, and types say so", async () => {
  const handle = await target();
  expectTypeOf(handle.add).returns.toExtend<PromiseLike<number>>();
  expectTypeOf(handle.requestId).parameters.toEqualTypeOf<[]>();
  expect(await handle.add(1)).toBe(2);
  expect(await handle.add(1, 5)).toBe(6);
  const got: number[] = [];
  for await (const i of handle.count(3)) got.push(i);
  expect(got).toEqual([0, 1, 2]);
  expect(await Array.fromAsync(handle.options({ stream: true }).count(2))).toEqual([0, 1]);
});

test("a call starts in the turn it is made, awaited or not, and an unawaited failure ends nothing", async () => {
  const handle = await target();
  const first = handle.add(1);
  handle.add(2);
  handle.boom();
  expect(await handle.log()).toEqual(["add 1", "add 2"]);
  expect(await first).toBe(2);
});

test("responses are arguments; nested ones are refused by name", async () => {
  const handle = await target();
  expect(await handle.add(handle.add(1), handle.add(10))).toBe(13);
  await expect(Promise.resolve(handle.add(handle.boom() as never))).rejects.toThrow("inner detail");
  expect(() => JSON.stringify([handle.add(1)])).toThrow(/can't be serialised/);
});

test("mismatches of one value and a stream are told, as recorded in X-HDL-06", async () => {
  const handle = await target();
  await expect(Promise.resolve(handle.count(2))).rejects.toThrow(/Method 'count' returned a generator/);
  await expect(Promise.resolve(handle.options({ stream: true }).count(2))).rejects.toThrow(/can't be awaited directly/);
  await expect(Array.fromAsync(handle.options({ stream: true }).add(1) as never)).rejects.toThrow(
    /Called method 'add' .* did not return a generator/,
  );
});

test("unknown and private methods are refused with the list of those that exist (X-HDL-02)", async () => {
  const handle = (await target()) as unknown as Record<string, () => DeploymentResponse<unknown>>;
  for (const name of ["nope", "_private", "constructor", "hasOwnProperty"])
    await expect(Promise.resolve(handle[name]!())).rejects.toThrow(
      `Tried to call a method '${name}' that does not exist. Available methods: ['add', 'boom', 'count', 'log', 'requestId', 'slow'].`,
    );
});

test("ctx.call inherits id, deadline and cancellation", async () => {
  const handle = await target();
  const context = new RequestContext({
    requestId: "r-1",
    deadline: null,
    multiplexedModelId: "",
    hops: 0,
    replica: null as never,
  });
  expect(await context.call(handle).requestId()).toBe("r-1");
  const slow = context.call(handle).slow();
  await Promise.resolve();
  context.cancel(new SkeinError("CANCELLED", "the caller is gone"));
  await expect(Promise.resolve(slow)).rejects.toThrow("the caller is gone");
});

test("cancel() reaches the call", async () => {
  const handle = await target();
  const slow = handle.slow();
  queueMicrotask(() => slow.cancel());
  await expect(Promise.resolve(slow)).rejects.toMatchObject({ code: "CANCELLED" });
});

test("options chain, and a handle itself is neither a promise nor JSON", async () => {
  const calls: Call[] = [];
  const caller: Caller = { unary: async (call) => void calls.push(call), async *stream() {} };
  const handle: DeploymentHandle<Target> = makeHandle(caller, { app: "a", deployment: "D" });
  await handle
    .options({ multiplexedModelId: "m" })
    .options({ signal: AbortSignal.timeout(60_000) })
    .add(1);
  expect(calls[0]).toMatchObject({ model: "m", method: "add", args: [1], target: { app: "a", deployment: "D" } });
  expect(await handle).toBe(handle);
  expect(String(handle)).toBe("DeploymentHandle(deployment='D', app='a')");
});
