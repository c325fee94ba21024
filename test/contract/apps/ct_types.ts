import { deployment } from "skein";

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

class Item {
  a = 1;
  b = "x";
}

async function* agen() {
  for (let i = 0; i < 3; i += 1) {
    yield `a${i}\n`;
    await pause(150);
  }
}

function* sgen() {
  for (let i = 0; i < 3; i += 1) yield `s${i}\n`;
}

class Custom {}

function duplicates(): Response {
  const headers = new Headers({ "content-type": "text/plain; charset=utf-8" });
  headers.append("set-cookie", "a=1; Path=/; SameSite=lax");
  headers.append("set-cookie", "b=2; Path=/; SameSite=lax");
  return new Response("dups", { headers });
}

/** Each value as close to Python's as JavaScript has one. */
const MAKE: Readonly<Record<string, () => unknown>> = {
  str: () => "hello",
  empty_str: () => "",
  unicode: () => "héllo 你好",
  bytes: () => new Uint8Array([0, 1, 255]),
  bytearray: () => new Uint8ClampedArray([97, 98, 99]),
  none: () => null,
  dict: () => ({ b: 1, a: [1, 2, { c: null }], s: "é" }),
  empty_dict: () => ({}),
  list: () => [1, "two", null],
  tuple: () => [1, 2],
  tuple_status: () => ["body", 201],
  set: () => new Set([1]),
  datetime: () => new Date(Date.UTC(2020, 0, 2, 3, 4, 5)),
  decimal: () => 1.5,
  pydantic: () => new Item(),
  bytes_in_dict: () => ({ x: new TextEncoder().encode("abc") }),
  int_keys: () => ({ 1: "a" }),
  numpy_array: () => [new Float32Array([1, 2]), new Float32Array([3, 4])],
  numpy_scalar: () => 0.5,
  custom_object: () => new Custom(),
  exception_object: () => new Error("returned not raised"),
  plain_response: () => new Response("teapot", { status: 418 }),
  html_response: () => new Response("<p>hi</p>", { headers: { "content-type": "text/html; charset=utf-8" } }),
  json_response: () => Response.json({ a: 1 }, { status: 201, headers: { "x-custom": "yes" } }),
  redirect_response: () => new Response(null, { status: 307, headers: { location: "/elsewhere" } }),
  empty_204: () => new Response(null, { status: 204 }),
  dup_headers: duplicates,
  async_generator_object: () => agen(),
  sync_generator_object: () => sgen(),
  request_id_header_override: () => new Response("x", { headers: { "x-request-id": "from-app" } }),
  content_length_lie: () => new Response(new TextEncoder().encode("abc"), { headers: { "content-length": "2" } }),
};

class Types {
  fetch(request: Request) {
    const kind = new URL(request.url).searchParams.get("k") ?? "";
    if (kind === "raise_value_error") throw new RangeError("secret detail");
    if (kind === "raise_http_exception") throw Object.assign(new Error("nope"), { status: 403 });
    if (kind === "raise_cancelled") throw new DOMException("cancelled", "AbortError");
    if (kind === "raise_timeout") throw new DOMException("app timeout", "TimeoutError");
    return MAKE[kind]?.();
  }
}
export const app = deployment(Types, { rayActorOptions: { numCpus: 0 } }).bind();

class AGen {
  async *fetch(request: Request) {
    const query = new URL(request.url).searchParams;
    const n = Number(query.get("n") ?? 3);
    const boom = Number(query.get("boom") ?? -1);
    for (let i = 0; i < n; i += 1) {
      if (i === boom) throw new Error("mid-stream");
      yield { str: `c${i};`, bytes: new TextEncoder().encode(`\0${i}`), int: i, dict: { i }, none: null, empty: "" }[
        query.get("kind") ?? "str"
      ];
      await pause(150);
    }
  }
}
export const agen_app = deployment(AGen, { rayActorOptions: { numCpus: 0 } }).bind();

class SGen {
  *fetch() {
    for (let i = 0; i < 3; i += 1) yield `c${i};`;
  }
}
export const sgen_app = deployment(SGen, { rayActorOptions: { numCpus: 0 } }).bind();

export const fn_app = deployment((request: Request) => `sync function ${request.method}`, {
  name: "fn",
  rayActorOptions: { numCpus: 0 },
}).bind();
