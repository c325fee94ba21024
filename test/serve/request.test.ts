import { expect, test } from "vitest";
import { LazyRequest, installWebRequest, type BodySource } from "../../serve/request.ts";

const source = (...pieces: string[]): BodySource => ({
  next: async () => (pieces.length > 0 ? new TextEncoder().encode(pieces.shift()) : undefined),
});
const request = (method: string, body: BodySource | null, headers: string[] = []) =>
  new LazyRequest({
    method,
    scheme: "http",
    mount: "/app",
    path: "/a/b?x=1",
    headers: ["host", "h:1", ...headers],
    body,
    signal: () => new AbortController().signal,
  });

test("url, headers and body read like a web Request's", async () => {
  const lazy = request("POST", source('{"a":', "1}"), ["x-a", "1", "x-a", "2"]);
  expect(lazy instanceof Request).toBe(true);
  expect(lazy.url).toBe("http://h:1/app/a/b?x=1");
  expect(lazy.headers.get("x-a")).toBe("1, 2");
  expect(lazy.bodyUsed).toBe(false);
  expect(await lazy.json()).toEqual({ a: 1 });
  expect(lazy.bodyUsed).toBe(true);
  await expect(lazy.text()).rejects.toThrow(/already been read/);
});

test("what user code gets holds nothing of the message that the body came in, Buffer or not", async () => {
  const message = Buffer.from("secret of another request[1,2]secret");
  const view = (): BodySource => {
    const pieces = [message.subarray(25, 30)];
    return { next: async () => pieces.shift() };
  };
  expect(Buffer.from(await request("POST", view()).arrayBuffer()).toString()).toBe("[1,2]");
  expect((await request("POST", view()).bytes()).buffer.byteLength).toBe(5);
  const [piece] = await Array.fromAsync(request("POST", view()).body as unknown as AsyncIterable<Uint8Array>);
  expect(piece!.buffer.byteLength).toBe(5);
});

test("no body reads as empty, and JSON of it fails as in a web Request", async () => {
  expect(await request("GET", null).text()).toBe("");
  expect((await request("POST", source()).arrayBuffer()).byteLength).toBe(0);
  await expect(request("GET", null).json()).rejects.toThrow(SyntaxError);
});

test("the body streams piece by piece", async () => {
  const pieces = await Array.fromAsync(request("POST", source("a", "b")).body as unknown as AsyncIterable<Uint8Array>);
  expect(pieces.map((p) => Buffer.from(p).toString())).toEqual(["a", "b"]);
});

test("new Request(lazy) is a real one with the same body; clone and formData work", async () => {
  const before = globalThis.Request;
  try {
    installWebRequest();
    const real = new Request(request("POST", source("hello"), ["x-a", "1"]) as unknown as Request);
    expect([real.method, real.url, real.headers.get("x-a"), await real.text()]).toEqual([
      "POST",
      "http://h:1/app/a/b?x=1",
      "1",
      "hello",
    ]);
    expect(request("GET", null) instanceof Request).toBe(true);
    const form = await request("POST", source("a=1&b=2"), [
      "content-type",
      "application/x-www-form-urlencoded",
    ]).formData();
    expect(form.get("b")).toBe("2");
    expect(await request("POST", source("x")).clone().text()).toBe("x");
  } finally {
    globalThis.Request = before;
  }
});

test("a Hono app takes it as it stands", async () => {
  const { Hono } = await import("hono");
  const app = new Hono().post("/app/a/b", async (c) =>
    c.json({ got: await c.req.json(), x: c.req.query("x"), host: c.req.header("host") }),
  );
  const response = await app.fetch(request("POST", source("[1]")) as unknown as Request);
  expect(await response.json()).toEqual({ got: [1], x: "1", host: "h:1" });
});
