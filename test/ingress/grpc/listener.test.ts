/** The gRPC listener of a real ingress, called by grpc-js, with a replica that the test plays: bytes, status, metadata, deadline, cancellation, pressure. */
import { createServer } from "node:net";
import { Client, credentials, Metadata, status, type ClientDuplexStream, type StatusObject } from "@grpc/grpc-js";
import { afterEach, expect, test } from "vitest";
import { BACKLOG_MAX, STREAM_WINDOW } from "../../../protocol/limits.ts";
import type { OpenGrpc } from "../../../protocol/heads.ts";
import type { Stream } from "../../../protocol/stream.ts";
import { routed } from "../harness.ts";
import { until } from "../opened.ts";
import { ECHO } from "./echo-descriptors.ts";
import { run, type Handler, type Running, type RunOptions } from "../running.ts";

const SERVICE = "ray.serve.RayServeAPIService";
let running: Running;
let client: Client;
afterEach(async () => {
  client?.close();
  await running.stop();
});

async function start(handler: Handler, options: RunOptions & { deployment?: object } = {}): Promise<void> {
  running = await run({ grpc: { grpc_servicer_functions: ["x.proto:user.Echo"] }, ...options });
  running.route({
    apps: [{ name: "app", routePrefix: "/", ingress: "D", grpcServices: ["user.Echo"], grpcDescriptors: ECHO }],
    deployments: [{ replicas: [routed("app#D#a")], ...options.deployment }],
  });
  await running.replica("app#D#a", handler);
  client = new Client(`127.0.0.1:${port()}`, credentials.createInsecure(), {
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
  });
}
const port = (): number => running.reports.findLast((r) => r.grpc !== null)!.grpc!.port;

interface Outcome {
  readonly messages: Buffer[];
  readonly status: StatusObject;
}
const identity = (bytes: Buffer): Buffer => bytes;
const open = (
  path: string,
  metadata: Record<string, string> = {},
  deadline?: number,
): ClientDuplexStream<Buffer, Buffer> => {
  const all = new Metadata();
  for (const [name, value] of Object.entries(metadata)) all.set(name, value);
  return client.makeBidiStreamRequest(
    path,
    identity,
    identity,
    all,
    deadline === undefined ? {} : { deadline: Date.now() + deadline },
  );
};
function outcome(call: ClientDuplexStream<Buffer, Buffer>): Promise<Outcome> {
  const messages: Buffer[] = [];
  call.on("data", (message: Buffer) => messages.push(message));
  call.on("error", () => {});
  return new Promise((resolve) => call.on("status", (s: StatusObject) => resolve({ messages, status: s })));
}
async function unary(
  path: string,
  message: Buffer = Buffer.from("x"),
  metadata: Record<string, string> = {},
  deadline?: number,
): Promise<Outcome> {
  const call = open(path, metadata, deadline);
  const done = outcome(call);
  call.end(message);
  return done;
}

/** Gathers each whole message; `each` may answer it; `end` is after the last. */
const playing =
  (on: {
    open?(stream: Stream, head: OpenGrpc): void;
    message?(stream: Stream, message: Buffer): void;
    end?(stream: Stream): void;
    cancel?(reason: string): void;
  }): Handler =>
  (stream, head) => {
    let pieces: Uint8Array[] = [];
    stream.accept();
    on.open?.(stream, head as OpenGrpc);
    return {
      onChunk: (payload, _type, more, charge) => {
        pieces.push(payload);
        stream.consumed(charge);
        if (more) return;
        on.message?.(stream, Buffer.concat(pieces));
        pieces = [];
      },
      onEnd: () => on.end?.(stream),
      onCancel: (reason) => on.cancel?.(reason),
    };
  };
const echo = playing({
  message: (stream, message) => void stream.write("bytes", message),
  end: (stream) => stream.end(),
});

test("messages of any size pass both ways, in order, streams open while both speak", async () => {
  await start(echo);
  const large = Buffer.alloc(5 * STREAM_WINDOW, "large");
  const { messages, status: end } = await unary("/user.Echo/Say", large);
  expect(Buffer.compare(messages[0]!, large)).toBe(0);
  expect(end.code).toBe(status.OK);
  const call = open("/user.Echo/Talk");
  const done = outcome(call);
  for (let i = 0; i < 500; i++) call.write(Buffer.from(`message ${i}`));
  call.write(Buffer.alloc(0));
  call.end(large);
  const talked = await done;
  expect(talked.messages.slice(0, 501).map(String)).toEqual([
    ...Array.from({ length: 500 }, (_, i) => `message ${i}`),
    "",
  ]);
  expect(talked.messages[501]?.length).toBe(large.length);
});

test("metadata goes in, status and trailing metadata come out, request_id with them (C054, C058)", async () => {
  const heads: OpenGrpc[] = [];
  await start(
    playing({
      open: (_s, head) => heads.push(head),
      end: (stream) => stream.end({ status: { code: 15, message: "custom ü" }, trailers: ["k", "v", "b-bin", "AQI="] }),
    }),
  );
  const { status: end } = await unary("/user.Echo/Say", Buffer.from("x"), {
    request_id: "rid-7",
    multiplexed_model_id: "m9",
    "x-user": "1",
  });
  expect({ code: end.code, details: end.details, ...end.metadata.getMap() }).toMatchObject({
    code: status.DATA_LOSS,
    details: "custom ü",
    k: "v",
    "b-bin": Buffer.from([1, 2]),
    request_id: "rid-7",
  });
  expect(heads[0]).toMatchObject({
    kind: "grpc",
    path: "/user.Echo/Say",
    requestId: "rid-7",
    model: "m9",
    app: "app",
    deployment: "D",
  });
  const names = heads[0]!.metadata.filter((_, i) => i % 2 === 0);
  expect(names).toEqual(expect.arrayContaining(["x-user", "user-agent"]));
  expect(names.filter((name) => name.startsWith(":") || name.startsWith("grpc-") || name === "te")).toEqual([]);
  expect((await unary("/user.Echo/Say")).status.metadata.get("request_id")[0]).toMatch(/^[0-9a-f-]{36}$/);
});

test("failures have their codes (C036, C056)", async () => {
  await start(
    playing({
      end: (stream) => {
        stream.write("bytes", Buffer.from("first"));
        stream.fail({ code: "APPLICATION_ERROR", message: "Error: mid stream" });
      },
    }),
  );
  const { messages, status: end } = await unary("/user.Echo/Talk");
  expect([messages.map(String), end.code, end.details]).toEqual([["first"], status.INTERNAL, "Error: mid stream"]);
  for (const path of ["/user.Echo/Nope", "/other.Service/M", "/x"])
    expect((await unary(path)).status).toMatchObject({ code: status.UNIMPLEMENTED, details: "Method not found!" });
  running.route({ apps: [] });
  expect((await unary("/user.Echo/Say")).status).toMatchObject({
    code: status.NOT_FOUND,
    details: expect.stringContaining("Application metadata not set."),
  });
  running.route({
    apps: [{ name: "app", routePrefix: "/", ingress: "D", grpcServices: ["user.Echo"], grpcDescriptors: ECHO }],
    deployments: [{ unavailable: true }],
  });
  expect((await unary("/user.Echo/Say")).status).toMatchObject({
    code: status.UNAVAILABLE,
    details: expect.stringContaining("failed to deploy"),
  });
});

test("a full queue is RESOURCE_EXHAUSTED, in Ray's words (C036)", async () => {
  await start(playing({}), { deployment: { maxOngoingRequests: 1, maxQueuedRequests: 1 } });
  const held = [open("/user.Echo/Say"), open("/user.Echo/Say")];
  const done = held.map(outcome);
  held.forEach((call) => call.write(Buffer.from("x")));
  await until(() => running.ingress.mesh.pool("app", "D")!.queued === 1);
  expect((await unary("/user.Echo/Say")).status).toMatchObject({
    code: status.RESOURCE_EXHAUSTED,
    details: "Request dropped due to backpressure (num_queued_requests=1, max_queued_requests=1).",
  });
  held.forEach((call) => call.cancel());
  await Promise.all(done);
});

test("the deadline is the shorter of the client's and the configured one, and reaches the replica", async () => {
  const deadlines: (number | null)[] = [];
  const cancelled: string[] = [];
  await start(
    playing({ open: (_s, head) => deadlines.push(head.deadlineMs), cancel: (reason) => cancelled.push(reason) }),
    { grpc: { grpc_servicer_functions: ["x.proto:user.Echo"], request_timeout_s: 0.7 } },
  );
  expect((await unary("/user.Echo/Say")).status).toMatchObject({
    code: status.DEADLINE_EXCEEDED,
    details: "Request timed out after 0.7s.",
  });
  // The client counts from before it has sent anything: a call may end before it gets here.
  while (deadlines.length < 2)
    expect((await unary("/user.Echo/Say", Buffer.from("x"), {}, 200)).status.code).toBe(status.DEADLINE_EXCEEDED);
  await until(() => cancelled.length === 2);
  expect(deadlines[0]).toBeGreaterThan(200);
  expect(deadlines[1]).toBeLessThanOrEqual(200);
});

test("a client that cancels, or goes, ends the work", async () => {
  const cancelled: string[] = [];
  await start(
    playing({
      open: (stream) => void stream.write("bytes", Buffer.from("first")),
      cancel: (reason) => cancelled.push(reason),
    }),
  );
  const call = open("/user.Echo/Talk");
  const done = outcome(call);
  call.write(Buffer.from("x"));
  await new Promise((resolve) => call.once("data", resolve));
  call.cancel();
  expect((await done).status.code).toBe(status.CANCELLED);
  await until(() => cancelled.length === 1);
  const second = open("/user.Echo/Talk");
  const gone = outcome(second);
  second.write(Buffer.from("x"));
  await new Promise((resolve) => second.once("data", resolve));
  client.close();
  second.cancel();
  await gone;
  await until(() => cancelled.length === 2);
  await until(() => running.ingress.mesh.pool("app", "D")!.ongoing === 0);
});

test("a client that doesn't read stops the replica within its windows", async () => {
  let written = 0;
  let stream: Stream | undefined;
  const fill = (): void => {
    while (stream!.write("bytes", new Uint8Array(16 * 1024))) if ((written += 1) > 10_000) break;
  };
  await start((s) => {
    stream = s;
    s.accept();
    setImmediate(fill);
    return { onWritable: fill, onChunk: (_p, _t, _m, charge) => s.consumed(charge) };
  });
  const call = open("/user.Echo/Talk");
  const done = outcome(call);
  call.pause();
  call.write(Buffer.from("x"));
  let before = -1;
  await until(() => {
    const settled = written > 0 && written === before;
    before = written;
    return settled;
  }, 300);
  // Windows of the link's stream and of HTTP/2, 16 messages in grpc-js, and sockets' buffers.
  expect(written * 16 * 1024).toBeLessThan(8 * 1024 * 1024);
  call.cancel();
  await done;
});

test("a replica that doesn't read stops the client within the windows", async () => {
  await start((stream) => {
    stream.accept();
    // Nothing is consumed.
    return { onChunk: () => {} };
  });
  const call = open("/user.Echo/Talk");
  const done = outcome(call);
  let flushed = 0;
  for (let i = 0; i < 4_000; i++) call.write(Buffer.alloc(16 * 1024), () => void (flushed += 1));
  let before = -1;
  await until(() => {
    const settled = flushed > 0 && flushed === before;
    before = flushed;
    return settled;
  }, 300);
  expect(flushed * 16 * 1024).toBeLessThan(16 * 1024 * 1024);
  call.cancel();
  await done;
});

test("health, watched and asked; the ingress's own services (C052)", async () => {
  await start(echo);
  const health = async (service: string) =>
    await unary("/grpc.health.v1.Health/Check", Buffer.from([0x0a, service.length, ...Buffer.from(service)]));
  expect((await health("user.Echo")).messages[0]).toEqual(Buffer.from([0x08, 1]));
  expect((await health("")).messages[0]).toEqual(Buffer.from([0x08, 1]));
  expect((await health("no.Such")).status).toMatchObject({ code: status.NOT_FOUND, details: "unknown service" });
  expect((await unary(`/${SERVICE}/Healthz`, Buffer.alloc(0))).messages.map(String)).toEqual(["\n\x07success"]);
  expect((await unary(`/${SERVICE}/ListApplications`, Buffer.alloc(0))).messages.map(String)).toEqual(["\n\x03app"]);
  expect((await unary(`/${SERVICE}/Healthz`, Buffer.from([0xff]))).status.code).toBe(status.INVALID_ARGUMENT);
  const watch = open("/grpc.health.v1.Health/Watch");
  const seen: number[] = [];
  watch.on("data", (message: Buffer) => seen.push(message[1] ?? 0));
  watch.on("error", () => {});
  watch.end(Buffer.from([0x0a, 9, ...Buffer.from("user.Echo")]));
  await until(() => seen.length === 1);
  running.route({
    apps: [{ name: "app", routePrefix: "/", ingress: "D", grpcServices: ["user.Echo"], grpcDescriptors: ECHO }],
    deployments: [{ replicas: [] }],
  });
  await until(() => seen.length === 2);
  expect(seen).toEqual([1, 2]);
  watch.cancel();
});

test("a busy port is one sentence that names the option; no services, no listener", async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const taken = (other.address() as { port: number }).port;
  running = await run({ grpc: { port: taken, grpc_servicer_functions: ["x.proto:user.Echo"] } });
  expect(running.reports[0]).toMatchObject({
    state: "failed",
    error: `Port ${taken} on 127.0.0.1 is in use by another program: stop it, or choose another port in grpc_options.port.`,
  });
  await new Promise((resolve) => other.close(resolve));
  // It is tried again.
  await until(() => running.reports.at(-1)?.grpc?.port === taken);
  await running.stop();
  running = await run({ grpc: { grpc_servicer_functions: [] } });
  expect(running.reports[0]).toMatchObject({ state: "ready", grpc: null });
});

test("calls are counted under their names (C178)", async () => {
  await start(echo);
  await unary("/user.Echo/Say");
  await unary("/user.Echo/Nope");
  const metrics = await (await fetch(new URL("/metrics", running.meshUrl.replace(/^ws/, "http")))).text();
  expect(metrics).toContain(
    'skein_num_grpc_requests_total{route="app",method="/user.Echo/Say",application="app",status_code="StatusCode.OK"} 1',
  );
  expect(metrics).toContain(
    'skein_num_grpc_error_requests_total{route="",method="OTHER",application="",error_code="StatusCode.UNIMPLEMENTED"} 1',
  );
  expect(metrics).toContain("skein_num_ongoing_grpc_requests 0");
});

test("a client that does not read is cut with a status of its own when too much is held for too many", async () => {
  await start((stream) => {
    const write = (): void => {
      while (stream.write("bytes", Buffer.alloc(10_000)));
    };
    stream.accept();
    setImmediate(write);
    return { onWritable: write };
  });
  const { backlog } = running.ingress.mesh;
  const call = open("/user.Echo/Talk");
  const done = outcome(call);
  call.pause();
  await until(() => backlog.total > STREAM_WINDOW / 2);
  backlog.hold({ backlog: 0, late: false, cut: () => {} }, BACKLOG_MAX);
  await until(() => running.ingress.mesh.pool("app", "D")!.ongoing === 0 && backlog.total === BACKLOG_MAX);
  call.resume();
  expect((await done).status.code).toBe(status.RESOURCE_EXHAUSTED);
});

test("reflection is there unless grpc_options.enable_reflection is false", async () => {
  await start(playing({}));
  const ask = async (): Promise<number> =>
    (await unary("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Buffer.alloc(0))).status.code;
  expect(await ask()).toBe(status.OK);
  running.route({ grpc: { enable_reflection: false } });
  expect(await ask()).toBe(status.UNIMPLEMENTED);
});
