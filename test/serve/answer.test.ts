import { expect, test } from "vitest";
import { answerOf, headersFor, pieceOf } from "../../serve/answer.ts";

const whole = (value: unknown) => {
  const answer = answerOf(value);
  if (answer.kind !== "whole") throw new Error(`expected a whole answer, got ${answer.kind}`);
  return { status: answer.status, type: answer.headers[1], body: answer.body };
};
const json = (body: string) => ({ status: 200, type: "application/json", body });

test("return values convert as recorded in C049, C049-c and C049-d", () => {
  const text = (body: string) => ({ status: 200, type: "text/plain; charset=utf-8", body });
  expect(whole("hello")).toEqual(text("hello"));
  expect(whole("")).toEqual(text(""));
  expect(whole("héllo 你好")).toEqual(text("héllo 你好"));
  expect(whole(new Uint8Array([0, 1, 255]))).toEqual({
    status: 200,
    type: "text/plain",
    body: new Uint8Array([0, 1, 255]),
  });
  expect(whole(null)).toEqual({ status: 200, type: "text/plain", body: "" });
  expect(whole(undefined)).toEqual({ status: 200, type: "text/plain", body: "" });
  expect(whole({ b: 1, a: [1, 2, { c: null }], s: "é" })).toEqual(json('{"b":1,"a":[1,2,{"c":null}],"s":"\\u00e9"}'));
  expect(whole({})).toEqual(json("{}"));
  expect(whole([1, "two", null])).toEqual(json('[1,"two",null]'));
  expect(whole(new Set([1]))).toEqual(json("[1]"));
  expect(whole(new Map([["a", 1]]))).toEqual(json('{"a":1}'));
  expect(whole(42)).toEqual(json("42"));
  expect(whole(true)).toEqual(json("true"));
  expect(whole(2n ** 70n)).toEqual(json("1180591620717411303424"));
  expect(whole(new Date(Date.UTC(2020, 0, 2)))).toEqual(json('"2020-01-02T00:00:00.000Z"'));
  expect(whole({ x: new TextEncoder().encode("abc") })).toEqual(json('{"x":"abc"}'));
  expect(whole(new Float32Array([0.5, 1]))).toEqual(json("[0.5,1]"));
  expect(whole(new (class Custom {})())).toEqual(json("{}"));
  expect(whole(new Error("returned not raised"))).toEqual(json('"returned not raised"'));
  expect(() => answerOf(() => 1)).toThrow(/no form over HTTP/);
});

test("a Response keeps status and headers, duplicates too (C049-e)", async () => {
  const headers = new Headers({ "x-custom": "yes" });
  headers.append("set-cookie", "a=1");
  headers.append("set-cookie", "b=2");
  const answer = answerOf(new Response("teapot", { status: 418, headers }));
  if (answer.kind !== "stream") throw new Error("expected a stream");
  expect(answer.status).toBe(418);
  expect(answer.headers).toEqual([
    "content-type",
    "text/plain;charset=UTF-8",
    "set-cookie",
    "a=1",
    "set-cookie",
    "b=2",
    "x-custom",
    "yes",
  ]);
  const first = await answer.pieces.next();
  expect(Buffer.from(first.value as Uint8Array).toString()).toBe("teapot");
  expect(answerOf(new Response(null, { status: 204 }))).toEqual({ kind: "whole", status: 204, headers: [], body: "" });
});

test("iterables stream; the first element says of what type", async () => {
  const answer = answerOf(
    (async function* () {
      yield "a";
    })(),
  );
  expect(answer).toMatchObject({ kind: "stream", status: 200, headers: null });
  expect(
    answerOf(
      (function* () {
        yield 1;
      })(),
    ).kind,
  ).toBe("stream");
  expect(headersFor("a")[1]).toBe("text/plain; charset=utf-8");
  expect(headersFor(new Uint8Array(1))[1]).toBe("text/plain");
  expect(headersFor({})[1]).toBe("application/x-ndjson");
  expect(pieceOf({ i: 1 })).toBe('{"i":1}\n');
});
