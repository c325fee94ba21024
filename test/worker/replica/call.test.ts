import { expect, test } from "vitest";
import { pack, unpack, type OpenCall } from "../../../protocol/heads.ts";
import { STREAM_WINDOW } from "../../../protocol/limits.ts";
import type { Stream, StreamEvents } from "../../../protocol/stream.ts";
import { deployment, type Context, type DeploymentHandle } from "../../../serve/index.ts";
import { bench, turns, type FakeIngress } from "./bench.ts";

class D {
  add(a: number, b = 1) {
    return a + b;
  }
  id(ctx: Context) {
    return ctx.requestId;
  }
  size(bytes: Uint8Array) {
    return bytes.byteLength;
  }
  blob(n: number) {
    return new Uint8Array(n);
  }
  nothing() {}
  boom() {
    throw new RangeError("inner detail");
  }
  async *count(n: number) {
    for (let i = 0; i < n; i++) yield i;
    if (n === 3) throw new Error("gen broke");
  }
}
const app = deployment(D).bind() as never;

test("values come back as values: of any size, none, errors with their name", async () => {
  const { ingress } = await bench(app);
  const value = async (method: string, ...args: unknown[]) => {
    const sent = ingress.call(method, args);
    const reply = await sent.done;
    return reply.fail ?? unpack(Buffer.concat(reply.chunks.map((c) => c.payload)));
  };
  expect(await value("add", 1)).toBe(2);
  expect(await value("add", 1, 5)).toBe(6);
  expect(await value("id")).toBe("r-1");
  expect(await value("nothing")).toBeUndefined();
  expect(await value("size", new Uint8Array(2 * STREAM_WINDOW))).toBe(2 * STREAM_WINDOW);
  expect(((await value("blob", 3 * STREAM_WINDOW)) as Uint8Array).byteLength).toBe(3 * STREAM_WINDOW);
  expect(await value("boom")).toEqual({ code: "APPLICATION_ERROR", message: "RangeError: inner detail" });
  expect(await value("nope")).toMatchObject({
    code: "NOT_FOUND",
    message: expect.stringContaining("Tried to call a method 'nope' that does not exist."),
  });
  expect(await value("count", 2)).toMatchObject({
    code: "APPLICATION_ERROR",
    message: expect.stringContaining("Method 'count' returned a generator"),
  });
});

test("a stream is one value chunk per element; an error in the middle ends it", async () => {
  const { ingress } = await bench(app);
  const sent = ingress.call("count", [2], { stream: true });
  expect((await sent.done).end).toEqual({});
  expect(sent.values()).toEqual([0, 1]);
  const broken = ingress.call("count", [3], { stream: true });
  expect((await broken.done).fail).toEqual({ code: "APPLICATION_ERROR", message: "Error: gen broke" });
  expect(broken.values()).toEqual([0, 1, 2]);
  expect((await ingress.call("add", [1], { stream: true }).done).fail?.message).toMatch(/did not return a generator/);
});

class Leaf {
  async double(n: number) {
    return n * 2;
  }
  async *letters() {
    yield "a";
    yield "b";
  }
}
class Parent {
  readonly leaf: DeploymentHandle<Leaf>;
  constructor(leaf: DeploymentHandle<Leaf>) {
    this.leaf = leaf;
  }
  async fetch(request: Request, ctx: Context) {
    const leaf = ctx.call(this.leaf);
    if (request.url.endsWith("/broken")) {
      let got = "";
      try {
        for await (const letter of leaf.letters()) got += letter;
      } catch (error) {
        got += ` ${(error as Error).message}`;
      }
      return got;
    }
    if (request.url.endsWith("/letters")) return (await Array.fromAsync(leaf.letters())).join("");
    return String(await leaf.options({ multiplexedModelId: "m" }).double(leaf.double(1)));
  }
}
const parent = deployment(Parent, { name: "D" }).bind(deployment(Leaf).bind()) as never;

/** An ingress that runs the leaf itself. */
function switchTo(
  ingress: FakeIngress,
  heads: OpenCall[],
  answer: (stream: Stream, args: unknown[], head: OpenCall) => void,
): void {
  ingress.onStream = (stream, head): StreamEvents => {
    heads.push(head as OpenCall);
    const pieces: Uint8Array[] = [];
    return {
      onChunk: (payload, _type, _more, charge) => {
        pieces.push(payload.slice());
        stream.consumed(charge);
      },
      onEnd: () => answer(stream, unpack(Buffer.concat(pieces)) as unknown[], head as OpenCall),
      onCancel: (reason) => heads.push({ cancelled: reason } as never),
    };
  };
}

test("handles call through the link: target, id, hops, deadline and model go along; responses are arguments", async () => {
  const { ingress } = await bench(parent);
  const heads: OpenCall[] = [];
  switchTo(ingress, heads, (stream, [n]) => {
    stream.accept();
    stream.write("value", pack((n as number) * 2));
    stream.end();
  });
  const sent = ingress.http({ requestId: "r-7", hops: 1, deadlineMs: 5000 });
  await sent.done;
  expect(sent.text()).toBe("4");
  expect(heads).toHaveLength(2);
  expect(heads[1]).toMatchObject({
    kind: "call",
    app: "app",
    deployment: "Leaf",
    method: "double",
    requestId: "r-7",
    hops: 1,
    deadlineMs: 5000,
    model: "m",
    stream: false,
  });
});

test("a stream of a callee is read piece by piece, and a failed call is an error of its code", async () => {
  const { ingress } = await bench(parent);
  const heads: OpenCall[] = [];
  switchTo(ingress, heads, (stream, _args, head) => {
    if (!head.stream) return stream.fail({ code: "BACKPRESSURE", message: "the queue is full" });
    for (const letter of ["a", "b"]) stream.write("value", pack(letter));
    stream.end();
  });
  const letters = ingress.http({ path: "/letters" });
  await letters.done;
  expect(letters.text()).toBe("ab");
  expect((await ingress.http().done).fail).toEqual({ code: "BACKPRESSURE", message: "the queue is full" });
});

test("what a callee yielded before it failed is read, however close the failure came (X-HDL-06)", async () => {
  const { ingress } = await bench(parent);
  switchTo(ingress, [], (stream) => {
    for (const letter of ["a", "b"]) stream.write("value", pack(letter));
    stream.fail({ code: "APPLICATION_ERROR", message: "gen broke" });
  });
  const broken = ingress.http({ path: "/broken" });
  await broken.done;
  expect(broken.text()).toBe("ab gen broke");
});

test("cancelling the request cancels the call it waits for", async () => {
  const { ingress } = await bench(parent);
  const heads: OpenCall[] = [];
  switchTo(ingress, heads, () => {});
  const sent = ingress.http();
  await turns();
  expect(heads).toHaveLength(1);
  sent.stream.cancel("the client is gone");
  await turns();
  expect(heads[1]).toEqual({ cancelled: "the client is gone" });
});

test("a callee that dies is the application's error here, and nobody's retry", async () => {
  const { ingress } = await bench(parent);
  switchTo(ingress, [], (stream) => stream.fail({ code: "REPLICA_DIED", message: "The replica died." }));
  expect((await ingress.http().done).fail).toEqual({ code: "APPLICATION_ERROR", message: "The replica died." });
});

test("a call without any link waits for one, then says so", async () => {
  const called = Promise.withResolvers<void>();
  class Early {
    readonly leaf: DeploymentHandle<Leaf>;
    constructor(leaf: DeploymentHandle<Leaf>) {
      this.leaf = leaf;
    }
    async init() {
      const reply = this.leaf.double(1);
      called.resolve();
      await reply;
    }
  }
  const made = await bench(deployment(Early, { name: "D" }).bind(deployment(Leaf).bind()) as never, {
    urls: ["ws://nowhere"],
    start: false,
  });
  const starting = made.replica.start();
  // What the start imports takes real time; the clock of the test goes on when the call has been made.
  await called.promise;
  await made.time.advance(10_000);
  expect(await starting).toBe(false);
  expect(made.told.at(-1)).toMatchObject({
    state: "failed",
    error: "'Leaf' can't be called: there is no link to an ingress.",
  });
});
