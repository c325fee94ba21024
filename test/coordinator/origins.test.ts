/** Pages of others against the coordinator's two listeners: no request and no upgrade from a foreign origin or under a foreign name, credential or not. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hostileHosts, hostileOrigins } from "../support/hostile-origins.ts";
import { raw } from "../ingress/running.ts";
import { startReal, type Real } from "./real.ts";

let real: Real;
beforeAll(async () => {
  real = await startReal();
});
afterAll(() => real.stop());

const UPGRADE = [
  "connection: Upgrade",
  "upgrade: websocket",
  "sec-websocket-version: 13",
  "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
];

/** Status of a request with exactly these lines. */
async function ask(url: string, path: string, lines: readonly string[]): Promise<number> {
  const text = `GET ${path} HTTP/1.1\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;
  return Number((await raw(Number(new URL(url).port), text, "\r\n\r\n")).slice(9, 12));
}

/** 400: what is no name at all is refused before anyone looks whose it is. */
const REFUSED = [400, 403];

/** Every listener with what a program of ours gets there: 200, or 101 for a socket. */
const PLACES = [
  ["operators", "/api/ray/version", [], 200],
  ["mesh", "/control", UPGRADE, 101],
  ["mesh", "/relay/x", UPGRADE, 101],
] as const;

describe.each(PLACES)("%s %s", (listener, path, more, good) => {
  const url = (): string => (listener === "operators" ? real.ready.operatorsUrl : real.ready.meshUrl);
  const token = (): string => `authorization: Bearer ${real.admin}`;
  const at = (...lines: string[]): Promise<number> => ask(url(), path, [...lines, token(), ...more]);

  it("answers programs, and pages of its own, in any case", async () => {
    const { host, port } = new URL(url());
    for (const lines of [
      [`host: ${host}`],
      [`host: localhost:${port}`],
      [`host: LocalHost:${port}`],
      [`host: ${host}`, `origin: http://${host}`],
      [`host: ${host}`, `origin: HTTP://${host}`],
      [`host: LOCALHOST:${port}`, `origin: http://localhost:${port}`],
    ])
      expect([lines, await at(...lines)]).toEqual([lines, good]);
  });

  it("refuses every hostile origin", async () => {
    const { host } = new URL(url());
    const origins = hostileOrigins(host);
    expect(origins.length).toBeGreaterThanOrEqual(20);
    for (const origin of origins)
      expect([origin, await at(`host: ${host}`, `origin: ${origin}`)]).toEqual([origin, 403]);
  });

  it("refuses every foreign name, also with an origin that fits it", async () => {
    for (const host of hostileHosts(new URL(url()).port)) {
      expect([host, await at(`host: ${host}`)]).toEqual([host, expect.toBeOneOf(REFUSED)]);
      expect([host, await at(`host: ${host}`, `origin: http://${host}`)]).toEqual([host, expect.toBeOneOf(REFUSED)]);
    }
  });
});

it("a tokenless API exists on loopback only, and is as strict with pages", async () => {
  const open = await startReal({ insecureLocalApi: true });
  const { host, port } = new URL(open.ready.operatorsUrl);
  const at = (...lines: string[]): Promise<number> => ask(open.ready.operatorsUrl, "/api/ray/version", lines);
  expect(await at(`host: ${host}`)).toBe(200);
  for (const origin of hostileOrigins(host)) expect(await at(`host: ${host}`, `origin: ${origin}`)).toBe(403);
  for (const name of hostileHosts(port)) expect(await at(`host: ${name}`)).toBeOneOf(REFUSED);
  await open.stop();
  await expect(startReal({ insecureLocalApi: true, operators: { host: "0.0.0.0", port: 0 } })).rejects.toThrow(
    "loopback only",
  );
});
