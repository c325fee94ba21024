/** What clients of an application that says `errorFormat: "openai"` read where the mesh answers in its place; every other application's read Ray's text. */
import { expect, it } from "vitest";
import type { ErrorCode } from "../../protocol/errors.ts";
import type { Stream } from "../../protocol/stream.ts";
import { routed } from "./harness.ts";
import { bodyOf, get, none, one, rawInPieces, until } from "./opened.ts";
import { raw, type Handler } from "./running.ts";

const OPENAI = { errorFormat: "openai" as const };
const silent: Handler = (stream) => (stream.accept(), {});
const failing =
  (code: ErrorCode): Handler =>
  (stream) => (stream.fail({ code, message: "why" }), {});

const read = (text: string) => ({
  status: Number(text.slice(9, 12)),
  type: /\r\ncontent-type: ([^\r]*)/.exec(text)?.[1],
  retryAfter: /\r\nretry-after: ([^\r]*)/.exec(text)?.[1],
  ...JSON.parse(bodyOf(text)).error,
});
const JSON_TYPE = "application/json";

it("no valid key is a 401 with OpenAI's code; without the option it is Ray's text", async () => {
  const running = await none();
  const app = (name: string) => ({ name, routePrefix: `/${name}`, ingress: "D", grpcServices: [], apiKeys: [] });
  running.route({
    apps: [app("ai"), app("plain")],
    deployments: [
      { app: "ai", ...OPENAI },
      { app: "plain", replicas: [routed("r")] },
    ],
  });
  const answer = await raw(running.port, get("/ai/v1/models"));
  expect(answer).toMatch(/\r\nwww-authenticate: Bearer\r\n/);
  expect(read(answer)).toEqual({
    status: 401,
    type: "invalid_request_error",
    retryAfter: undefined,
    message: "This application needs a valid API key, as `Authorization: Bearer <key>` or `x-api-key: <key>`.",
    param: null,
    code: "invalid_api_key",
  });
  expect(answer).toContain(`content-type: ${JSON_TYPE}\r\n`);
  expect(bodyOf(await raw(running.port, get("/plain")))).toMatch(/^This application needs/);
});

it("no replica that could answer is a 503 that says when to come again; a full queue what the deployment says", async () => {
  const down = await none();
  down.route({ deployments: [{ ...OPENAI, unavailable: true }] });
  expect(read(await raw(down.port, get("/")))).toMatchObject({
    status: 503,
    type: "server_error",
    code: "unavailable",
    retryAfter: "1",
  });
  const full = await one(silent, {
    deployment: {
      ...OPENAI,
      maxOngoingRequests: 1,
      maxQueuedRequests: 1,
      backpressure: { status_code: 429, retry_after_s: 7 },
    },
  });
  const pool = () => full.ingress.mesh.pool("app", "D")!;
  void raw(full.port, get("/")).catch(() => {});
  await until(() => pool().ongoing === 1);
  void raw(full.port, get("/")).catch(() => {});
  await until(() => pool().queued === 1);
  expect(read(await raw(full.port, get("/")))).toMatchObject({
    status: 429,
    type: "rate_limit_error",
    code: "rate_limit_exceeded",
    retryAfter: "7",
  });
});

it("a timeout is a 408; a fault of ours a 500 that names the request and nothing else", async () => {
  const slow = await one(silent, { http: { request_timeout_s: 0.05 }, deployment: OPENAI });
  expect(read(await raw(slow.port, get("/")))).toMatchObject({ status: 408, code: "timeout" });
  for (const handler of [failing("APPLICATION_ERROR"), ((stream) => (stream.accept(), stream.end(), {})) as Handler]) {
    const broken = await one(handler, { deployment: OPENAI });
    expect(read(await raw(broken.port, get("/", "x-request-id: r7")))).toMatchObject({
      status: 500,
      type: "server_error",
      code: "internal_error",
      message: "Internal Server Error (Request ID: r7)",
    });
  }
});

it("a stream that breaks off says so as its last event", async () => {
  let made!: Stream;
  const running = await one(
    (stream) => {
      made = stream;
      stream.accept();
      stream.head({ status: 200, headers: ["content-type", "text/event-stream"] });
      stream.write("bytes", Buffer.from("data: 0\n\n"));
      return {};
    },
    { deployment: OPENAI },
  );
  const fail = (): void => made.fail({ code: "REPLICA_DIED", message: "secret" });
  const events = bodyOf(await rawInPieces(running.port, get("/"), fail)).split(/\r\n/);
  const last = events.find((line) => line.startsWith('data: {"error"'))!;
  expect(JSON.parse(last.slice("data: ".length)).error).toMatchObject({ type: "server_error", code: "internal_error" });
  expect(events.join("")).not.toContain("secret");
});
