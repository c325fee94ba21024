/**
 * What differs from the recordings of Ray Serve, and why: data, never silent. An entry that no longer applies fails the test too.
 * The list is printed with the report of the test run; docs/differences-from-ray-serve.md has the same in prose.
 */
import type { StepFinding } from "./replay.ts";

export interface Difference {
  /** Recordings in which it shows; "*": any. */
  readonly in: readonly string[] | "*";
  /** Absent: any step. */
  readonly step?: number;
  /** What differs, as the comparer names it; a RegExp for many names. */
  readonly what: string | RegExp;
  /** What Skein does, exactly; absent: anything. */
  readonly skein?: string | RegExp;
  readonly ray?: string | RegExp;
  readonly why: string;
}

/** The differences that explain a finding. */
export function explains(difference: Difference, id: string, finding: StepFinding): boolean {
  const { in: ids, step, what, ray, skein } = difference;
  const is = (expected: string | RegExp | undefined, text: string): boolean =>
    expected === undefined || (typeof expected === "string" ? expected === text : expected.test(text));
  return (ids === "*" || ids.includes(id)) && (step === undefined || step === finding.step) && is(what, finding.what) && is(ray, finding.ray) && is(skein, finding.skein);
}

const NONE = "(absent)";
const ECHO = ["C019", "C020", "X-HTTP-03", "X-HTTP-04", "X-HTTP-06"];
const GENERATORS = ["C043", "X-HTTP-01"];

export const DIFFERENCES: readonly Difference[] = [
  { in: "*", what: "header server", skein: NONE, why: "nobody needs to know which server this is" },
  { in: "*", what: "framing", ray: "chunked", skein: "content-length", why: "a value that is there as a whole has a length: the connection can be kept and the client knows when it has all" },
  { in: "*", what: "header content-type", ray: NONE, skein: "text/plain; charset=utf-8", why: "the body of an error has a type" },
  { in: ["C011", "X-HTTP-01"], what: "header x-request-id", ray: NONE, why: "every answer of an application names the request, cancelled handlers too" },
  { in: ECHO, what: "body.http_version", skein: NONE, why: "a web Request has no HTTP version" },
  { in: ECHO, what: "body.scope_keys", skein: NONE, why: "there is no ASGI scope" },
  { in: ECHO, what: /^body.headers (connection|transfer-encoding|expect)$/, skein: NONE, why: "lines about the connection end at the ingress" },
  { in: ["C020"], step: 5, what: "body.headers x-request-id", skein: "first, second", why: "web Headers join lines of one name" },
  { in: ["C020"], step: 5, what: "body.headers x-request-id", ray: "second", skein: NONE, why: "web Headers join lines of one name" },
  { in: ["C007"], step: 6, what: "body", skein: /now%20here/, why: "the path as the client wrote it: decoded, it could put anything into the text" },
  { in: ["C020"], step: 5, what: "body.request_id", ray: "second", skein: "first", why: "one request has one id: the first, which the answer names too" },
  { in: ["C020"], step: 7, what: "body.request_id", ray: "<uuid>", skein: "", why: "one request has one id: what the client said, even if empty" },
  { in: ["X-HTTP-03"], step: 3, what: "body.url", skein: /%2Fenc%20oded\/%E4%BD%A0/, why: "a URL keeps its escapes" },
  { in: ["C020", "C049-e"], what: "header content-type", skein: "text/plain;charset=UTF-8", why: "as the web's Response spells it" },
  { in: ["C049-e"], step: 5, what: "header x-request-id", ray: "<uuid>", skein: NONE, why: "the application's own line replaces ours; Ray sends both" },
  { in: ["C049-e"], step: 6, what: /^(end|body)$/, why: "a length that doesn't hold is not passed on" },
  { in: ["C049"], step: 4, what: /^(status|body|header content-type|framing)$/, why: "JavaScript has no bytearray: the nearest, a clamped array, is numbers" },
  { in: GENERATORS, what: /^(status|header content-type|framing|end|body|chunks)$/, why: "a generator is a stream over HTTP; Ray fails on it" },
  { in: ["X-HTTP-04"], what: "header date", skein: NONE, why: "what isn't HTTP is answered in a few fixed bytes" },
];
