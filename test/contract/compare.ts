/**
 * What a recording says against what Skein answered. Pure. Strict: status, header names and values, bodies, framing, states, messages.
 * Placeholders stand for what changes from run to run. The order of header lines and of entries in sets is not compared.
 */
import type { RawAnswer } from "./raw.ts";
import type { HttpObserved } from "./recording.ts";

/** One thing that differs. */
export interface Finding {
  readonly what: string;
  readonly ray: string;
  readonly skein: string;
}

const ABSENT = "(absent)";

const PLACEHOLDERS: Readonly<Record<string, string>> = {
  "<uuid>": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
  "<http date>": "\\w{3}, \\d{2} \\w{3} \\d{4} \\d{2}:\\d{2}:\\d{2} GMT",
  "<timestamp>": "\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(?:\\.\\d+)?Z?",
  "<uint>": "\\d+",
  "<int>": "-?\\d+",
  "<float>": "-?\\d+(?:\\.\\d+)?",
  "<float epoch s>": "\\d{10}(?:\\.\\d+)?",
  "<replica id>": "[a-z0-9]{8}",
  "<id>": "[0-9a-zA-Z-]{8,64}",
  "<node id>": "[0-9a-zA-Z-]{8,64}",
  "<ip>": "[0-9a-f.:]+",
  "<ws accept>": "[\\w+/]{27}=",
  "<string>": "[^]*",
  "<string path>": "[^]*",
};

/** True when `text` is what `pattern` says, placeholders and all. */
export function matches(pattern: string, text: string): boolean {
  if (!pattern.includes("<")) return pattern === text;
  const parts = pattern.split(/(<[a-z ]+>)/);
  const source = parts.map((part) => PLACEHOLDERS[part] ?? part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("");
  return new RegExp(`^${source}$`).test(text);
}

/** Framing lines are compared as framing, not as headers. */
const notFraming = (line: string): boolean => !/^(content-length|transfer-encoding):/.test(line);
const lineOf = ([name, value]: readonly [string, string]): string => `${name}: ${value}`;

/** An answer over HTTP against what was observed; only what was under test is compared. */
export function compareHttp(observed: HttpObserved, got: RawAnswer | "closed"): Finding[] {
  if (got === "closed")
    return observed.error === undefined ? [{ what: "answer", ray: String(observed.status), skein: "none" }] : [];
  if (observed.error !== undefined) return [{ what: "answer", ray: observed.error, skein: String(got.status) }];
  const findings: Finding[] = [];
  const check = (what: string, ray: unknown, skein: unknown): void => {
    if (ray !== undefined && ray !== skein) findings.push({ what, ray: String(ray), skein: String(skein) });
  };
  check("status", observed.status, got.status);
  if (observed.headers !== undefined)
    findings.push(
      ...compareLines("header", observed.headers.filter(notFraming), got.headers.map(lineOf).filter(notFraming)),
    );
  const length = observed.headers?.some((line) => line.startsWith("content-length:")) ? "content-length" : undefined;
  check("framing", observed.framing ?? length, got.framing);
  if (observed.headers !== undefined || observed.end !== undefined)
    check("end", observed.end ?? "clean", got.end ?? "clean");
  if (observed.body !== undefined && !compareBody(observed.body, got.body))
    findings.push(...bodyFindings(observed.body, got.body));
  const { chunks_as_received: chunks } = observed;
  if (chunks !== undefined && chunks.length > 0)
    check("chunks", JSON.stringify(chunks), JSON.stringify(got.chunks.map(String)));
  return findings;
}

/** Header lines, in any order; the same name may come more than once. */
function compareLines(what: string, observed: readonly string[], got: readonly string[]): Finding[] {
  const findings: Finding[] = [];
  const left = [...got];
  const missing: string[] = [];
  for (const line of observed) {
    const at = left.findIndex((have) => matches(line, have));
    if (at < 0) missing.push(line);
    else left.splice(at, 1);
  }
  for (const line of missing) {
    const at = left.findIndex((have) => nameOf(have) === nameOf(line));
    const have = at < 0 ? ABSENT : valueOf(left.splice(at, 1)[0] ?? "");
    findings.push({ what: `${what} ${nameOf(line)}`, ray: valueOf(line), skein: have });
  }
  for (const line of left) findings.push({ what: `${what} ${nameOf(line)}`, ray: ABSENT, skein: valueOf(line) });
  return findings;
}

const nameOf = (line: string): string => line.slice(0, line.indexOf(":"));
const valueOf = (line: string): string => line.slice(line.indexOf(":") + 1).trim();

function compareBody(observed: string, got: Buffer): boolean {
  if (observed.startsWith("hex:")) return got.toString("hex") === observed.slice(4);
  return matches(observed, got.toString("utf8"));
}

function bodyFindings(observed: string, got: Buffer): Finding[] {
  const ray = objectOf(observed);
  const skein = objectOf(got.toString("utf8"));
  if (ray === null || skein === null)
    return [{ what: "body", ray: observed, skein: got.toString(observed.startsWith("hex:") ? "hex" : "utf8") }];
  return compareJson("body", ray, skein);
}

function objectOf(text: string): Record<string, unknown> | null {
  try {
    const value = JSON.parse(text) as unknown;
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}

/** Key by key, so that each difference has a name (`body.headers`). Arrays are compared whole. `subset`: keys that only Skein has don't count. */
export function compareJson(path: string, ray: unknown, skein: unknown, subset = false): Finding[] {
  if (isObject(ray) && isObject(skein)) {
    const keys = new Set([...Object.keys(ray), ...(subset ? [] : Object.keys(skein))]);
    return [...keys].flatMap((key) => {
      if (!Object.hasOwn(ray, key)) return [{ what: `${path}.${key}`, ray: ABSENT, skein: show(skein[key]) }];
      if (!Object.hasOwn(skein, key)) return [{ what: `${path}.${key}`, ray: show(ray[key]), skein: ABSENT }];
      return compareJson(`${path}.${key}`, ray[key], skein[key], subset);
    });
  }
  if (isPairs(ray) && isPairs(skein)) return compareLines(path, ray.map(lineOf), skein.map(lineOf));
  if (Array.isArray(ray) && Array.isArray(skein) && ray.length === skein.length && ray.some(isObject))
    return ray.flatMap((item, index) => compareJson(`${path}[${index}]`, item, skein[index], subset));
  return matches(show(ray), show(skein)) ? [] : [{ what: path, ray: show(ray), skein: show(skein) }];
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isPairs = (value: unknown): value is [string, string][] =>
  Array.isArray(value) && value.length > 0 && value.every((item) => Array.isArray(item) && item.length === 2);
const show = (value: unknown): string => (typeof value === "string" ? value : (JSON.stringify(value) ?? ABSENT));
