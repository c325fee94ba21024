/** Pages of others against the client listener on loopback: by HTTP and for WebSockets. What `cors_origins` allows is allowed as it is written. */
import { describe, expect, it } from "vitest";
import { isLoopback } from "../../ingress/http/guard.ts";
import { hostileHosts, hostileOrigins } from "../support/hostile-origins.ts";
import { one } from "./opened.ts";
import { raw, type Handler, type Running } from "./running.ts";

const UPGRADE = [
  "connection: Upgrade",
  "upgrade: websocket",
  "sec-websocket-version: 13",
  "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
];
const handler: Handler = (stream, head) => {
  stream.accept();
  const upgrade = head.kind === "http" && head.upgrade;
  stream.head({ status: upgrade ? 101 : 200, headers: [] });
  if (!upgrade) stream.end();
  return {};
};

const asking =
  ({ port }: Running, more: readonly string[]) =>
  async (...lines: string[]): Promise<number> => {
    const text = `GET / HTTP/1.1\r\n${[...lines, ...more].map((line) => `${line}\r\n`).join("")}\r\n`;
    return Number((await raw(port, text, "\r\n\r\n")).slice(9, 12));
  };

describe.each([
  ["a request", [], 200],
  ["an upgrade", UPGRADE, 101],
] as const)("%s", (_name, more, good) => {
  it("of a program, or of a page of the same origin, is answered", async () => {
    const running = await one(handler);
    const at = asking(running, more);
    const { port } = running;
    for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, `LOCALHOST:${port}`, `app.localhost:${port}`]) {
      expect([host, await at(`host: ${host}`)]).toEqual([host, good]);
      expect([host, await at(`host: ${host}`, `origin: http://${host}`)]).toEqual([host, good]);
    }
  });

  it("from every hostile origin is refused", async () => {
    const running = await one(handler);
    const host = `127.0.0.1:${running.port}`;
    for (const origin of hostileOrigins(host))
      expect([origin, await asking(running, more)(`host: ${host}`, `origin: ${origin}`)]).toEqual([origin, 403]);
  });

  it("under every foreign name is refused", async () => {
    const running = await one(handler);
    for (const host of hostileHosts(String(running.port))) {
      expect([host, await asking(running, more)(`host: ${host}`)]).toEqual([host, 403]);
      expect([host, await asking(running, more)(`host: ${host}`, `origin: http://${host}`)]).toEqual([host, 403]);
    }
  });

  it("from an origin of cors_origins is answered, from one that resembles it refused", async () => {
    const allowed = "https://app.example";
    const running = await one(handler, { http: { cors_origins: [allowed] } });
    const at = (origin: string): Promise<number> =>
      asking(running, more)(`host: 127.0.0.1:${running.port}`, `origin: ${origin}`);
    expect(await at(allowed)).toBe(good);
    for (const origin of [
      `${allowed}.evil.example`,
      "http://app.example",
      `${allowed}:8443`,
      "https://evil-app.example",
      "null",
    ])
      expect([origin, await at(origin)]).toEqual([origin, 403]);
  });
});

it("addresses and names that mean this machine, and those that don't", () => {
  for (const name of [
    "127.0.0.1",
    "127.8.9.1:80",
    "localhost",
    "LocalHost:8000",
    "a.localhost",
    "::1",
    "[::1]",
    "[::1]:8000",
  ])
    expect([name, isLoopback(name)]).toEqual([name, true]);
  for (const name of ["", "0.0.0.0", "::", "[::]", "10.0.0.1", "example.org", "::1:8000x", ...hostileHosts("8000")])
    expect([name, isLoopback(name)]).toEqual([name, false]);
});

it("an ingress's numbers are for programs of this machine, not for pages under a foreign name", async () => {
  const running = await one(handler);
  const { port } = new URL(running.meshUrl);
  const at = async (host: string): Promise<number> =>
    Number((await raw(Number(port), `GET /metrics HTTP/1.1\r\nhost: ${host}\r\n\r\n`, "\r\n\r\n")).slice(9, 12));
  expect([await at(`127.0.0.1:${port}`), await at(`localhost:${port}`)]).toEqual([200, 200]);
  for (const host of hostileHosts(port)) expect([host, await at(host)]).toEqual([host, 404]);
});
