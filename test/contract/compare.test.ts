/** Each comparer has to find what is wrong: planted expectations that don't hold. */
import { expect, it } from "vitest";
import { compareHttp, compareJson, matches } from "./compare.ts";
import { explains } from "./differences.ts";
import { parseAnswer, type RawAnswer } from "./raw.ts";
import { report } from "./report.ts";

const answer = (text: string, method = "GET"): RawAnswer => {
  const parsed = parseAnswer(Buffer.from(text), method, true);
  if (parsed === null) throw new Error("This is no answer.");
  return parsed.answer;
};
const CHUNKED =
  "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-request-id: r\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
const observed = {
  status: 200,
  headers: ["content-type: text/plain", "x-request-id: r"],
  framing: "chunked",
  body: "ok",
};
const whats = (found: readonly { what: string }[]): string[] => found.map(({ what }) => what);

it("finds nothing where all is as observed", () => {
  expect(compareHttp({ ...observed, chunks_as_received: ["ok"] }, answer(CHUNKED))).toEqual([]);
});

it.each([
  ["status", { status: 201 }],
  ["header content-type", { headers: ["content-type: text/html", "x-request-id: r"] }],
  ["header retry-after", { headers: [...observed.headers, "retry-after: 7"] }],
  ["header x-request-id", { headers: ["content-type: text/plain"] }],
  ["header x-request-id", { headers: ["content-type: text/plain", "x-request-id: <uuid>"] }],
  ["framing", { framing: "none" }],
  ["body", { body: "no" }],
  ["body", { body: "hex:00" }],
  ["end", { end: "truncated" }],
  ["chunks", { chunks_as_received: ["o", "k"] }],
  ["answer", { error: "connection refused" }],
])("finds a wrong %s", (what, wrong) => {
  expect(whats(compareHttp({ ...observed, ...wrong }, answer(CHUNKED)))).toEqual([what]);
});

it("finds an answer that did not come, or did not end", () => {
  expect(whats(compareHttp(observed, "closed"))).toEqual(["answer"]);
  expect(whats(compareHttp(observed, answer(CHUNKED.slice(0, -5))))).toEqual(["end"]);
  const short = answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok");
  expect([short.framing, short.end]).toEqual(["content-length", "truncated"]);
});

it("names what differs in JSON, key by key, lines of headers in any order", () => {
  expect(whats(compareJson("body", { a: 1, b: { c: [1] } }, { a: 2, b: { c: [1, 2] }, d: 0 }))).toEqual([
    "body.a",
    "body.b.c",
    "body.d",
  ]);
  expect(compareJson("body", { a: 1 }, { a: 1, d: 0 }, true)).toEqual([]);
  expect(
    whats(compareJson("body", { replicas: [{ state: "RUNNING" }] }, { replicas: [{ state: "STARTING" }] })),
  ).toEqual(["body.replicas[0].state"]);
  const lines = (...names: string[]): { headers: string[][] } => ({ headers: names.map((name) => [name, "x"]) });
  expect(compareJson("body", lines("a", "b"), lines("b", "a"))).toEqual([]);
  expect(whats(compareJson("body", lines("a", "a"), lines("a")))).toEqual(["body.headers a"]);
});

it("placeholders stand for what they name and nothing else", () => {
  expect(
    matches(
      "Request <uuid> timed out after 1.0s.",
      "Request 0f4e6d3c-97a1-4f62-b22b-3f8f39a3aa2b timed out after 1.0s.",
    ),
  ).toBe(true);
  expect(matches("Request <uuid> timed out after 1.0s.", "Request r timed out after 1.0s.")).toBe(false);
  expect(matches("a.b <uint>", "aXb 1")).toBe(false);
  expect(matches("<p>hi</p>", "<p>hi</p>")).toBe(true);
});

it("a declared difference explains only what it names, and the report tells which are which", () => {
  const difference = { in: ["C1"], step: 2, what: "body", skein: "b", why: "it is better" };
  const finding = { step: 2, what: "body", ray: "a", skein: "b" };
  expect(explains(difference, "C1", finding)).toBe(true);
  for (const [id, other] of [
    ["C2", {}],
    ["C1", { step: 1 }],
    ["C1", { what: "status" }],
    ["C1", { skein: "c" }],
  ] as const)
    expect(explains(difference, id, { ...finding, ...other })).toBe(false);
  const outcome = { id: "C1", title: "", shown: new Set([difference]), unexplained: [] };
  const text = report(
    [outcome, { ...outcome, id: "C2", unexplained: ["step 0: status"] }, { ...outcome, id: "C3", shown: new Set() }],
    { C4: "no script" },
  );
  expect(text).toMatch(/1 as recorded, 1 with declared differences, 1 failed, 1 open/);
  for (const line of ["As recorded: C3", "  C1: body: it is better", "  C2: step 0: status", "  C4: no script"])
    expect(text).toContain(line);
});
