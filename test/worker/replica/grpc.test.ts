/** gRPC calls in a replica: decoded by descriptor, plain objects to user code and back, status and trailing metadata, cancellation. */
import { create, toBinary } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import type { OpenGrpc } from "../../../protocol/heads.ts";
import { STREAM_WINDOW } from "../../../protocol/limits.ts";
import { deployment, type Context } from "../../../serve/index.ts";
import { grpcMethods } from "../../../worker/replica/grpc-methods.ts";
import { bench, turns, type Bench, type Sent } from "./bench.ts";

const field = (name: string, number: number, type: Type, more: object = {}) => ({
  name,
  number,
  type,
  label: Label.OPTIONAL,
  jsonName: name,
  ...more,
});
const rpc = (name: string, clientStreaming = false, serverStreaming = false) => ({
  name,
  inputType: ".user.Req",
  outputType: ".user.Rep",
  clientStreaming,
  serverStreaming,
});
const GRPC = {
  services: ["user.S"],
  descriptors: Buffer.from(
    toBinary(
      FileDescriptorSetSchema,
      create(FileDescriptorSetSchema, {
        file: [
          {
            name: "u.proto",
            package: "user",
            syntax: "proto3",
            messageType: [
              { name: "Req", field: [field("name", 1, Type.STRING), field("num", 2, Type.INT64)] },
              {
                name: "Rep",
                field: [
                  field("text", 1, Type.STRING),
                  field("num", 2, Type.INT64),
                  field("nested_req", 3, Type.MESSAGE, { typeName: ".user.Req" }),
                  field("nums", 4, Type.INT64, { label: Label.REPEATED }),
                  field("one", 5, Type.STRING, { oneofIndex: 0 }),
                ],
                oneofDecl: [{ name: "either" }],
              },
            ],
            service: [
              {
                name: "S",
                method: [
                  rpc("Method1"),
                  rpc("Stream", false, true),
                  rpc("Slow"),
                  rpc("Boom"),
                  rpc("Missing"),
                  rpc("StreamBoom", false, true),
                  rpc("Upload", true),
                  rpc("Chat", true, true),
                  rpc("Wrong"),
                  rpc("Fetch"),
                  rpc("Constructor"),
                ],
              },
            ],
          },
        ],
      }),
    ),
  ).toString("base64"),
};
const methods = grpcMethods(GRPC);
// Both messages begin with the same fields: a reply's codec reads and writes requests too.
const encode = (value: object): Uint8Array => methods.get("/user.S/Chat")!.encode({ text: "", ...value });
const request = (name: string, num = 0): Uint8Array => encode({ text: name, num });

class D {
  log: string[] = [];
  Method1(r: { name: string; num: bigint }) {
    return { text: `method1 ${r.name}`, num: r.num + 1n, nestedReq: { name: "n", num: 7 }, nums: [1, 2n], one: "1" };
  }
  async *stream(r: { num: bigint }, ctx: Context) {
    try {
      for (let i = 0; i < r.num; i++) yield { text: `s${i}`.padEnd(r.num > 100n ? 5_000 : 0), num: i };
    } finally {
      this.log.push(`ended ${ctx.signal.aborted}`);
    }
  }
  async slow(r: { name: string }, ctx: Context) {
    const grpc = ctx.grpc!;
    if (r.name === "log") return { text: this.log.join() };
    if (r.name === "meta") return { text: grpc.metadata.map(([k, v]) => `${k}=${String(v)}`).join(" ") };
    grpc.setCode("DATA_LOSS");
    if (r.name === "ctx") grpc.setDetails("custom details");
    grpc.setTrailing({ k: "v", "b-bin": Uint8Array.of(1, 2) });
    if (r.name === "ctx_raise") throw new TypeError("after set_code");
    if (r.name === "bad") grpc.setTrailing({ "grpc-status": "0" });
    if (r.name === "wait")
      await new Promise((_, reject) =>
        ctx.signal.addEventListener("abort", () => (this.log.push("slow cancelled"), reject(new Error("gone")))),
      );
    return { text: "x" };
  }
  boom() {
    throw new RangeError("inner detail");
  }
  async *streamBoom() {
    yield { text: "first" };
    throw new Error("mid stream");
  }
  async upload(all: AsyncIterable<{ num: bigint }>) {
    let num = 0n;
    for await (const r of all) num += r.num;
    return { num };
  }
  async *chat(all: AsyncIterable<{ name: string }>) {
    for await (const r of all) yield { text: `echo ${r.name}` };
  }
  wrong(r: { name: string }): unknown {
    return { a: { txt: "x" }, b: { text: 5 }, c: "text", d: undefined, e: { num: 1.5 } }[r.name];
  }
  fetch() {
    return "http";
  }
}
const app = deployment(D).bind() as never;
const started = (): Promise<Bench> => bench(app, { change: (manifest) => ({ ...manifest, grpc: GRPC }) });

function call(
  { ingress }: Bench,
  method: string,
  messages: readonly Uint8Array[],
  change: Partial<OpenGrpc> = {},
  end = true,
): Sent {
  const sent = ingress.open(
    {
      kind: "grpc",
      app: "app",
      deployment: "D",
      requestId: "r-1",
      deadlineMs: null,
      epoch: 0,
      hops: 1,
      model: "",
      path: `/user.S/${method}`,
      metadata: [],
      ...change,
    },
    false,
  );
  for (const message of messages) sent.stream.write("bytes", message);
  if (end) sent.stream.end();
  return sent;
}
/** Whole messages, as text and number. */
function texts(sent: Sent): unknown[] {
  const found: unknown[] = [];
  let pieces: Uint8Array[] = [];
  for (const { payload, more } of sent.reply.chunks) {
    pieces.push(payload);
    if (more) continue;
    found.push(methods.get("/user.S/Method1")!.decode(Buffer.concat(pieces)));
    pieces = [];
  }
  return found;
}

test("unary: by its own name or with a small letter; numbers for 64 bits, nested objects, oneofs", async () => {
  const made = await started();
  const sent = call(made, "Method1", [request("a", 41)]);
  expect((await sent.done).end).toEqual({});
  const bytes = Buffer.concat(sent.reply.chunks.map((c) => c.payload));
  expect(
    Buffer.compare(
      bytes,
      encode({
        text: "method1 a",
        num: 42n,
        nestedReq: { name: "n", num: 7n },
        nums: [1n, 2n],
        either: { case: "one", value: "1" },
      }),
    ),
  ).toBe(0);
  expect(texts(sent)).toMatchObject([{ name: "method1 a", num: 42n }]);
});

test("streams: out, in, both; larger than the window, at the reader's pace", async () => {
  const made = await started();
  const out = call(made, "Stream", [request("", 3)]);
  expect((await out.done).end).toEqual({});
  expect(texts(out)).toMatchObject([
    { name: "s0", num: 0n },
    { name: "s1", num: 1n },
    { name: "s2", num: 2n },
  ]);
  const up = call(made, "Upload", [request("", 1), request("", 2), request("", 39)]);
  await up.done;
  expect(texts(up)).toMatchObject([{ num: 42n }]);
  const none = call(made, "Upload", []);
  await none.done;
  expect(texts(none)).toMatchObject([{ num: 0n }]);
  const chat = call(made, "Chat", [request("a")], {}, false);
  await turns();
  expect(texts(chat)).toMatchObject([{ name: "echo a" }]);
  chat.stream.write("bytes", request("b".repeat(2 * STREAM_WINDOW)));
  await turns(30);
  chat.stream.end();
  await chat.done;
  expect((texts(chat)[1] as { name: string }).name).toHaveLength(5 + 2 * STREAM_WINDOW);
  made.ingress.paused = true;
  const endless = call(made, "Stream", [request("", 1_000_000)]);
  await turns(50);
  expect(Buffer.concat(endless.reply.chunks.map((c) => c.payload)).byteLength).toBeLessThanOrEqual(STREAM_WINDOW);
  endless.stream.cancel("gone");
  await turns(20);
  made.ingress.paused = false;
  const log = call(made, "Slow", [request("log")]);
  await log.done;
  expect(texts(log)).toMatchObject([{ name: "ended false,ended true" }]);
});

test("what a handler sets is how the call ends, whether it returns or throws (C058)", async () => {
  const made = await started();
  const trailers = ["k", "v", "b-bin", "AQI="];
  expect((await call(made, "Slow", [request("ctx")]).done).end).toEqual({
    status: { code: 15, message: "custom details" },
    trailers,
  });
  expect((await call(made, "Slow", [request("ctx_raise")]).done).fail).toMatchObject({
    code: "APPLICATION_ERROR",
    status: { code: 15, message: "after set_code" },
    trailers,
  });
  expect((await call(made, "Slow", [request("bad")]).done).fail?.status).toMatchObject({
    code: 15,
    message: expect.stringContaining('"grpc-status" is no metadata name'),
  });
  const meta = call(made, "Slow", [request("meta")], { metadata: ["application", "g", "x-bin", "AQI="] });
  await meta.done;
  expect(texts(meta)).toMatchObject([{ name: "application=g x-bin=1,2" }]);
});

test("errors are INTERNAL with the message (C056); methods are only those of the service", async () => {
  const made = await started();
  const failure = async (method: string, ...messages: Uint8Array[]) =>
    (await call(made, method, messages).done).fail?.status;
  expect(await failure("Boom", request(""))).toEqual({ code: 13, message: "RangeError: inner detail" });
  const stream = call(made, "StreamBoom", [request("")]);
  expect((await stream.done).fail?.status).toEqual({ code: 13, message: "Error: mid stream" });
  expect(texts(stream)).toHaveLength(1);
  expect(await failure("Missing", request(""))).toMatchObject({
    code: 13,
    message: expect.stringContaining(
      "Tried to call a method 'Missing' that does not exist. Available methods: ['Method1', 'boom',",
    ),
  });
  for (const method of ["Fetch", "Constructor"])
    expect(await failure(method, request(""))).toMatchObject({
      code: 13,
      message: expect.stringContaining("does not exist"),
    });
  expect(await failure("Nope", request(""))).toMatchObject({ code: 12 });
  expect(await failure("Method1")).toMatchObject({ code: 3, message: "'Method1' takes one message, and none came." });
  expect(await failure("Method1", Uint8Array.of(0xff))).toMatchObject({
    code: 3,
    message: expect.stringContaining("The message is not a user.Req"),
  });
  expect(await failure("Wrong", request("a"))).toMatchObject({
    code: 13,
    message: "user.Rep has no field 'txt'. It has: text, num, nestedReq, nums, one.",
  });
  for (const [name, why] of [
    ["b", "text"],
    ["c", '"text" was returned'],
    ["d", "nothing was returned"],
    ["e", "num"],
  ])
    expect(await failure("Wrong", request(name!))).toMatchObject({ code: 13, message: expect.stringContaining(why!) });
});

test("cancellation reaches the handler's signal; an application without services answers UNIMPLEMENTED", async () => {
  const made = await started();
  const waiting = call(made, "Slow", [request("wait")]);
  await turns();
  waiting.stream.cancel("The client left.");
  await turns();
  expect(made.replica.ongoing).toBe(0);
  const log = call(made, "Slow", [request("log")]);
  await log.done;
  expect(texts(log)).toMatchObject([{ name: "slow cancelled" }]);
  expect((await call(await bench(app), "Method1", [request("a")]).done).fail?.status).toMatchObject({ code: 12 });
});
