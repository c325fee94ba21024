/** The lazy Response against the platform's own, use by use. */
import { inspect } from "node:util";
import { Hono } from "hono";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answerOf, type Answer } from "../../serve/answer.ts";
import { LazyResponse, installWebResponse } from "../../serve/response.ts";

const Real = globalThis.Response;
const Lazy = LazyResponse as unknown as typeof Response;
type Make = (R: typeof Response) => Response;

const stream = () =>
  new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(controller) {
      controller.enqueue(new TextEncoder().encode("piece "));
      controller.enqueue(new TextEncoder().encode("by piece"));
      controller.close();
    },
  });
/** As Node's own takes it too; what it says when it is called off goes to `onReturn`. */
const iterable = (onReturn = (): void => {}) =>
  (async function* () {
    try {
      yield new TextEncoder().encode("piece ");
      yield Buffer.from("by piece");
    } finally {
      onReturn();
    }
  })() as unknown as BodyInit;
const cookies = (): Headers => {
  const headers = new Headers({ "x-custom": "yes" });
  headers.append("set-cookie", "a=1");
  headers.append("set-cookie", "b=2");
  return headers;
};
const changed = (response: Response, change: (headers: Headers) => void): Response => (
  change(response.headers),
  response
);

const USES: Readonly<Record<string, Make>> = {
  nothing: (R) => new R(),
  null: (R) => new R(null),
  text: (R) => new R("ok"),
  "empty text": (R) => new R(""),
  "text beyond ASCII": (R) => new R("héllo 你好 🎉"),
  "half a surrogate pair": (R) => new R("a\ud800b"),
  "a byte order mark": (R) => new R("\ufeffa"),
  bytes: (R) => new R(new Uint8Array([0, 1, 255])),
  "a part of a buffer": (R) => new R(new Uint8Array([9, 104, 105, 9]).subarray(1, 3)),
  "a Buffer": (R) => new R(Buffer.from("buffer")),
  "an ArrayBuffer": (R) => new R(new Uint8Array([104, 105]).buffer),
  "a Blob": (R) => new R(new Blob(["blob"], { type: "text/css" })),
  "a form": (R) => new R(new URLSearchParams({ a: "1", b: "2 3" })),
  "a stream": (R) => new R(stream()),
  "an iterable": (R) => new R(iterable()),
  "an iterable, with status and type": (R) =>
    new R(iterable(), { status: 201, headers: { "content-type": "text/css" } }),
  "a number": (R) => new R(42 as unknown as string),
  status: (R) => new R("teapot", { status: 418, statusText: "I'm a teapot" }),
  "status as text": (R) => new R("x", { status: "404" as unknown as number }),
  "no content": (R) => new R(null, { status: 204 }),
  "not modified": (R) => new R(undefined, { status: 304, headers: { etag: '"1"' } }),
  "headers as an object": (R) => new R("x", { headers: { "X-B": " 2 ", "x-a": "1" } }),
  "headers as pairs": (R) => new R("x", { headers: [["X-B", "2"], ["x-a", "1"]] }), // prettier-ignore
  "a name twice, as pairs": (R) => new R("x", { headers: [["x-a", "1"], ["X-A", "2"]] }), // prettier-ignore
  "a name twice, as an object": (R) => new R("x", { headers: { "x-a": "1", "X-A": "2" } }),
  "headers as Headers": (R) => new R("x", { headers: cookies() }),
  "headers as a Map": (R) => new R("x", { headers: new Map([["x-a", "1"]]) as unknown as HeadersInit }),
  "a number as a header": (R) => new R("x", { headers: { "x-a": 1 as unknown as string } }),
  "an own content type": (R) => new R("{}", { headers: { "Content-Type": "application/json" } }),
  "a header beyond ASCII": (R) => new R("x", { headers: { "x-a": "caf\u00e9" } }),
  "an empty header": (R) => new R("x", { headers: { "x-a": "" } }),
  json: (R) => R.json({ a: [1, "é", null] }),
  "json with status and type": (R) =>
    R.json([], { status: 201, headers: { "content-type": "application/problem+json" } }),
  "json with a toJSON": (R) => R.json({ at: new Date(0) }),
  error: (R) => R.error(),
  redirect: (R) => R.redirect("http://h/x", 307),
  "another's parts": (R) =>
    new R(new R("x", { status: 202, headers: { "x-a": "1" } }).body, new R("", { status: 203 })),
  "headers changed": (R) => changed(new R("x"), (h) => (h.set("x-a", "1"), h.append("x-a", "2"))),
  "type taken away": (R) => changed(new R("x"), (h) => h.delete("content-type")),
  "cookies added": (R) => changed(new R("x"), (h) => (h.append("set-cookie", "a=1"), h.append("set-cookie", "b=2"))),
  "a clone": (R) => new R("x", { status: 201, headers: { "x-a": "1" } }).clone(),
  "a clone of an iterable": (R) => new R(iterable()).clone(),
  "a clone of a stream": (R) => new R(stream(), { headers: { "x-a": "1" } }).clone(),
  "a clone of changed headers": (R) => changed(new R("x"), (h) => h.set("x-a", "1")).clone(),
  "a class of the user's": (R) =>
    new (class Mine extends R {
      constructor() {
        super("mine", { status: 201 });
      }
    })(),
};

const READS: Readonly<Record<string, (response: Response) => unknown>> = {
  text: (r) => r.text(),
  json: (r) => r.json(),
  bytes: async (r) => [...(await r.bytes())],
  arrayBuffer: async (r) => [...new Uint8Array(await r.arrayBuffer())],
  blob: async (r) => [(await r.blob()).type, await (await r.blob().catch(() => new Blob())).text()],
  formData: async (r) => [...(await r.formData())],
  body: async (r) =>
    r.body === null
      ? null
      : Buffer.concat(await Array.fromAsync(r.body as unknown as AsyncIterable<Uint8Array>)).toString(),
  textStream: async (r) =>
    "textStream" in r ? (await Array.fromAsync((r.textStream as () => AsyncIterable<string>)())).join("") : "none",
  "a clone, then itself": async (r) => [await r.clone().text(), await r.text()],
  "itself, then a clone": async (r) => [await r.text(), r.clone()],
  "text twice": async (r) => [await r.text(), await r.text()],
  "body, then text": async (r) => [r.body === null, await r.text()],
  // Not awaited: the half of a clone is cancelled when the other half is too.
  "cancelled body": (r) => (void r.body?.cancel(), r.text()),
  "a new one of its body": async (r) => new Response(r.body, r).text(),
};

/** A value, or the class of what was thrown. Messages are the platform's own business. */
async function outcome(act: () => unknown): Promise<unknown> {
  try {
    return await act();
  } catch (error) {
    return `throws ${(error as Error).name}`;
  }
}

const facts = (r: Response): object => ({
  status: r.status,
  statusText: r.statusText,
  ok: r.ok,
  type: r.type,
  url: r.url,
  redirected: r.redirected,
  headers: [...r.headers],
  noBody: r.body === null,
  bodyUsed: r.bodyUsed,
  tag: Object.prototype.toString.call(r),
});

describe.each(Object.entries(USES))("%s", (_name, make) => {
  test("looks the same, and reads the same in every way", async () => {
    expect(facts(make(Lazy))).toEqual(facts(make(Real)));
    for (const [name, read] of Object.entries(READS)) {
      const [lazy, real] = [make(Lazy), make(Real)];
      const [got, wanted] = [await outcome(() => read(lazy)), await outcome(() => read(real))];
      expect([name, got, lazy.bodyUsed]).toEqual([name, wanted, real.bodyUsed]);
    }
  });

  test("is the same answer on the wire", async () => {
    const sent = async (answer: Answer): Promise<object> => {
      if (answer.kind === "upgrade") throw new Error("not an upgrade");
      const pieces: Uint8Array[] = [];
      if (answer.kind === "whole") pieces.push(Buffer.from(answer.body as string));
      else
        for (let step = await answer.pieces.next(); step.done !== true; step = await answer.pieces.next())
          pieces.push(step.value as Uint8Array);
      return { status: answer.status, headers: answer.headers, body: Buffer.concat(pieces).toString("hex") };
    };
    expect(await sent(answerOf(make(Lazy)))).toEqual(await sent(answerOf(make(Real))));
  });
});

const REFUSED: Readonly<Record<string, Make>> = {
  "a status that isn't one": (R) => new R("x", { status: 99 }),
  "a status beyond": (R) => new R("x", { status: 600 }),
  "a body where none may be": (R) => new R("x", { status: 204 }),
  "an empty body where none may be": (R) => new R("", { status: 304 }),
  "a status text of two lines": (R) => new R("x", { statusText: "a\nb" }),
  "a name with a blank": (R) => new R("x", { headers: { "a b": "1" } }),
  "a value of two lines": (R) => new R("x", { headers: { a: "1\r\nb: 2" } }),
  "a value beyond Latin-1": (R) => new R("x", { headers: { a: "你" } }),
  "half a pair": (R) => new R("x", { headers: [["a"]] as unknown as HeadersInit }),
  "headers of text": (R) => new R("x", { headers: "a" as unknown as HeadersInit }),
  "an init of text": (R) => new R("x", "a" as unknown as ResponseInit),
  "json of nothing": (R) => R.json(undefined),
  "json with no content": (R) => R.json({}, { status: 204 }),
  "json of a circle": (R) => {
    const circle: unknown[] = [];
    circle.push(circle);
    return R.json(circle);
  },
  "a body that was read": (R) => {
    const read = new R("x");
    void read.text();
    return new R(read.body);
  },
};
test.each(Object.entries(REFUSED))("refused alike: %s", async (_name, make) => {
  const wanted = await outcome(() => make(Real));
  expect(wanted).toMatch(/^throws/);
  expect(await outcome(() => make(Lazy))).toBe(wanted);
});

test("a usual response has built nothing of the platform's until it is sent", () => {
  for (const usual of [new Lazy("ok"), new Lazy(new Uint8Array(1), { status: 201 }), Lazy.json({ a: 1 })])
    expect(answerOf(usual).kind).toBe("whole");
  expect(answerOf(new Lazy(stream())).kind).toBe("stream");
  expect(answerOf(new Lazy(iterable(), { status: 201, headers: { "x-a": "1" } }))).toMatchObject({
    kind: "stream",
    status: 201,
    headers: ["x-a", "1"],
  });
});

test("bytes are copied when they are given and when they are read", async () => {
  const given = new Uint8Array([1]);
  const response = new Lazy(given);
  given[0] = 2;
  const clone = response.clone();
  (await response.bytes())[0] = 3;
  expect([...(await clone.bytes())]).toEqual([1]);
});

test("a response that was read can't be returned", () => {
  const read = new Lazy("x");
  void read.text();
  expect(() => answerOf(read)).toThrow(TypeError);
});

test.each([
  ["ours", Lazy],
  ["the platform's", Real],
])("pieces are called off with the body (%s)", async (_, R) => {
  let left = 0;
  const response = new R(iterable(() => left++));
  const reader = response.body!.getReader();
  expect(new TextDecoder().decode((await reader.read()).value)).toBe("piece ");
  await reader.cancel();
  expect(left).toBe(1);
});

describe("installed", () => {
  beforeAll(installWebResponse);
  afterAll(() => void (globalThis.Response = Real));

  test("instanceof holds for lazy and real ones, and not for others", () => {
    class Mine extends Response {}
    expect([new Response("x"), new Real("x"), Response.json(1), new Mine()].every((r) => r instanceof Response)).toBe(
      true,
    );
    expect([{}, null, new Request("http://h")].some((r) => (r as unknown) instanceof Response)).toBe(false);
    expect([new Mine() instanceof Mine, new Response() instanceof Mine]).toEqual([true, false]);
    expect([Response.name, Response.length, inspect(new Response("x")).startsWith("Response {")]).toEqual([
      "Response",
      0,
      true,
    ]);
  });

  test("a Hono app answers as with the platform's", async () => {
    const app = new Hono()
      .use(async (c, next) => {
        await next();
        c.res.headers.set("x-after", "1");
        c.header("x-late", "2");
      })
      .get("/text", (c) => c.text("hello", 201, { "x-a": "1" }))
      .get("/json", (c) => c.json({ a: "é" }))
      .get("/html", (c) => c.html("<p>"))
      .get("/body", (c) => c.body(stream()))
      .get("/redirect", (c) => c.redirect("/text"))
      .get("/none", (c) => c.body(null, 204))
      .get(
        "/cookies",
        (c) => (c.header("set-cookie", "a=1"), c.header("set-cookie", "b=2", { append: true }), c.text("x")),
      )
      .get("/replaced", async (c, next) => {
        await next();
        c.res = new Response("replaced", c.res);
      })
      .get("/plain", () => new Response("plain"))
      .get("/throws", () => {
        throw new Error("no");
      })
      .onError((error, c) => c.text(error.message, 500));
    const all = async (): Promise<unknown[]> => {
      const paths = [
        "/text",
        "/json",
        "/html",
        "/body",
        "/redirect",
        "/none",
        "/cookies",
        "/replaced",
        "/plain",
        "/throws",
        "/404",
      ];
      return Promise.all(
        paths.map(async (path) => {
          const answer = await app.request(path);
          return [path, answer.status, [...answer.headers], await answer.text()];
        }),
      );
    };
    const lazy = await all();
    globalThis.Response = Real;
    const real = await all();
    installWebResponse();
    expect(lazy).toEqual(real);
    expect(lazy[0]).toEqual(["/text", 201, [["content-type", "text/plain; charset=UTF-8"], ["x-a", "1"], ["x-after", "1"], ["x-late", "2"]], "hello"]); // prettier-ignore
  });
});
