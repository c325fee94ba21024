/** API keys at the client listener: who is let in, what a refusal says (always the same), and what the replica sees of a key (nothing). */
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { Keyring } from "../../ingress/api-keys.ts";
import { apiKeyId, apiKeyText, type RoutedApiKey } from "../../protocol/api-key.ts";
import type { OpenHttp } from "../../protocol/heads.ts";
import { generateKeys } from "../../protocol/ticket.ts";
import { routed } from "./harness.ts";
import { bodyOf, get, none, stopped, until } from "./opened.ts";
import { answering, raw, run, type Handler, type Running } from "./running.ts";

const made = (id: string, secret: string, expiresAtMs: number | null = null): { text: string; kept: RoutedApiKey } => {
  const text = apiKeyText(id, secret.repeat(43));
  return { text, kept: { id, hash: createHash("sha256").update(text).digest("hex"), expiresAtMs } };
};
const GOOD = made("0123456789ab", "g");
const OLD = made("00000000000a", "o", Date.now() - 1);
const REVOKED = made("00000000000b", "r");
const WRONG = apiKeyText("0123456789ab", "w".repeat(43));
const UNKNOWN = apiKeyText("ffffffffffff", "u".repeat(43));

/** What callers may show that is no valid key. */
const REFUSED: Readonly<Record<string, string | null>> = {
  none: null,
  "an unknown id": `Bearer ${UNKNOWN}`,
  "a wrong secret": `Bearer ${WRONG}`,
  "an expired key": `Bearer ${OLD.text}`,
  "a revoked key": `Bearer ${REVOKED.text}`,
  "a cut key": `Bearer ${GOOD.text.slice(0, -1)}`,
  "a key and more": `Bearer ${GOOD.text}x`,
  "its id alone": `Bearer ${GOOD.kept.id}`,
  "its hash": `Bearer ${GOOD.kept.hash}`,
  "another scheme": `Basic ${GOOD.text}`,
  "no scheme": GOOD.text,
  nonsense: "Bearer ",
};

/** `closed` asks for GOOD, `shut` has no key left, `/` asks for none. */
async function guarded(handler: Handler): Promise<Running> {
  const running = await none();
  const app = (name: string, keys?: RoutedApiKey[]) => ({
    name,
    routePrefix: name === "app" ? "/" : `/${name}`,
    ingress: "D",
    grpcServices: [],
    ...(keys === undefined ? {} : { apiKeys: keys }),
  });
  running.route({
    apps: [app("app"), app("closed", [GOOD.kept, OLD.kept]), app("shut", [])],
    deployments: ["app", "closed", "shut"].map((name) => ({ app: name, replicas: [routed(`${name}#D#a`)] })),
  });
  for (const name of ["app", "closed", "shut"]) await running.replica(`${name}#D#a`, handler, { app: name });
  return running;
}

const echo = answering((head) => ({ body: JSON.stringify(head) }));
const headersOf = (text: string): readonly string[] => (JSON.parse(bodyOf(text)) as OpenHttp).headers;

describe("an application with a key", () => {
  it("answers who shows it, in any case of the scheme, and its replica sees nothing of the key", async () => {
    const { port } = await guarded(echo);
    for (const scheme of ["Bearer", "bearer", "BEARER "]) {
      const text = await raw(port, get("/closed/x", `Authorization: ${scheme} ${GOOD.text}`, "x-other: kept"));
      expect(text).toMatch(/^HTTP\/1.1 200 /);
      expect(text).not.toContain(GOOD.text);
      expect(headersOf(text)).not.toContain("authorization");
      expect(headersOf(text)).toContain("x-other");
    }
  });

  it("answers who shows it as Anthropic's clients do, and its replica sees nothing of it either", async () => {
    const { port } = await guarded(echo);
    for (const lines of [[`X-Api-Key: ${GOOD.text}`], ["authorization: Basic abc", `x-api-key: ${GOOD.text}`]]) {
      const text = await raw(port, get("/closed", ...lines));
      expect(text).toMatch(/^HTTP\/1.1 200 /);
      expect(text).not.toContain(GOOD.text);
      expect(headersOf(text)).not.toContain("authorization");
    }
    for (const lines of [
      [`x-api-key: ${WRONG}`],
      [`x-api-key: Bearer ${GOOD.text}`],
      [`authorization: Bearer ${WRONG}`, `x-api-key: ${GOOD.text}`],
    ])
      expect(await raw(port, get("/closed", ...lines))).toMatch(/^HTTP\/1.1 401 /);
  });

  it("takes away every line of that name: the second may hold the key again", async () => {
    const { port } = await guarded(echo);
    const text = await raw(
      port,
      get("/closed", `authorization: Bearer ${GOOD.text}`, `AUTHORIZATION: Bearer ${GOOD.text}`),
    );
    expect(headersOf(text).filter((line) => line.toLowerCase() === "authorization")).toEqual([]);
  });

  it("answers everyone else with the same 401, whatever was wrong", async () => {
    const running = await guarded(() => expect.unreachable("a request without a key reached the replica"));
    const answers = new Set<string>();
    for (const [name, shown] of Object.entries(REFUSED))
      for (const path of ["/closed", "/closed/x?y", "/shut"]) {
        const lines = shown === null ? [] : [`authorization: ${shown}`];
        const text = await raw(running.port, get(path, "x-request-id: r", ...lines));
        expect([name, text]).toEqual([name, expect.stringMatching(/^HTTP\/1.1 401 Unauthorized\r\n/)]);
        expect(text).toMatch(/\r\nwww-authenticate: Bearer\r\n/);
        answers.add(text.replace(/\r\ndate: [^\r]*/i, ""));
      }
    expect([...answers]).toHaveLength(1);
    expect(await raw(running.port, get("/shut", `authorization: Bearer ${GOOD.text}`))).toMatch(/^HTTP\/1.1 401 /);
  });

  it("refuses before a body is read: nobody uploads without a key", async () => {
    const { port } = await guarded(() => expect.unreachable());
    const head = "POST /closed HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n";
    expect(await raw(port, `${head}expect: 100-continue\r\n\r\n`)).toMatch(/^HTTP\/1.1 401 [^]*connection: close\r\n/i);
    expect(await raw(port, `${head}\r\nsome`)).toMatch(/^HTTP\/1.1 401 [^]*connection: close\r\n/i);
  });

  it("upgrades to a WebSocket with the key only", async () => {
    const lines: string[][] = [];
    const { port } = await guarded((stream, head) => {
      lines.push([...(head as OpenHttp).headers]);
      stream.accept();
      stream.head({ status: 101, headers: [] });
      return {};
    });
    const upgrade = (headers: Record<string, string>): Promise<string> =>
      new Promise((resolve) => {
        const socket = new WebSocket(`ws://127.0.0.1:${port}/closed`, { headers });
        socket.on("open", () => (socket.close(), resolve("open")));
        socket.on("unexpected-response", (_request, response) =>
          resolve(`${response.statusCode} ${response.headers["www-authenticate"]}`),
        );
      });
    for (const [name, shown] of Object.entries(REFUSED))
      expect([name, await upgrade(shown === null ? {} : { authorization: shown })]).toEqual([name, "401 Bearer"]);
    expect(lines).toEqual([]);
    expect(await upgrade({ authorization: `Bearer ${GOOD.text}` })).toBe("open");
    expect(lines.map((of) => of.includes("authorization"))).toEqual([false]);
  });

  it("leaves the system's paths and other applications open; those see their own authorization line", async () => {
    const { port } = await guarded(echo);
    for (const path of ["/-/healthz", "/-/routes"]) expect(await raw(port, get(path))).toMatch(/^HTTP\/1.1 200 /);
    expect(await raw(port, get("/"))).toMatch(/^HTTP\/1.1 200 /);
    expect(headersOf(await raw(port, get("/", "authorization: Basic abc")))).toContain("Basic abc");
  });

  it("lets a browser ask first, which it does without a key", async () => {
    const running = stopped(await run({ http: { cors_origins: ["https://app.example"] } }));
    running.route({ apps: [{ name: "app", routePrefix: "/", ingress: "D", grpcServices: [], apiKeys: [GOOD.kept] }] });
    const asked = get("/", "origin: https://app.example", "access-control-request-method: POST");
    expect(await raw(running.port, asked.replace("GET", "OPTIONS"))).toMatch(/^HTTP\/1.1 204 /);
    expect(await raw(running.port, get("/", "origin: https://app.example"))).toMatch(
      /^HTTP\/1.1 401 [^]*access-control-allow-origin: https:\/\/app\.example\r\n/,
    );
  });

  it("is closed and opened by the table, at once", async () => {
    const { port, ...running } = await guarded(echo);
    const table = (apiKeys?: RoutedApiKey[]) => ({
      apps: [
        {
          name: "app",
          routePrefix: "/",
          ingress: "D",
          grpcServices: [],
          ...(apiKeys === undefined ? {} : { apiKeys }),
        },
      ],
      deployments: [{ replicas: [routed("app#D#a")] }],
    });
    const asked = get("/", `authorization: Bearer ${GOOD.text}`);
    const statuses: string[] = [];
    for (const keys of [undefined, [GOOD.kept], [OLD.kept], [], undefined]) {
      running.route(table(keys));
      statuses.push((await raw(port, asked)).slice(9, 12), (await raw(port, get("/"))).slice(9, 12));
    }
    expect(statuses).toEqual(["200", "200", "200", "401", "401", "401", "401", "401", "200", "200"]);
  });
});

it("an ingress that starts again while the coordinator is away asks for the keys that it remembers", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "skein-ingress-"));
  const keys = await generateKeys("k1");
  const first = await run({ dataDir, keys });
  first.route({
    apps: [{ name: "app", routePrefix: "/", ingress: "D", grpcServices: [], apiKeys: [GOOD.kept, OLD.kept] }],
    deployments: [{ replicas: [routed("app#D#a")] }],
  });
  await until(() => first.ingress.mesh.table !== null);
  await first.stop();
  const second = stopped(await run({ dataDir, keys, reachable: false }));
  await second.replica("app#D#a", echo);
  const statuses = [];
  for (const text of [GOOD.text, OLD.text, WRONG])
    statuses.push((await raw(second.port, get("/", `authorization: Bearer ${text}`))).slice(9, 12));
  expect(statuses).toEqual(["200", "401", "401"]);
  await rm(dataDir, { recursive: true, force: true, maxRetries: 5 });
});

describe("a keyring", () => {
  it("goes by the mesh's time, and holds to the last millisecond", () => {
    const { text, kept } = made("0123456789ab", "t", 1_000);
    const ring = new Keyring([kept]);
    expect([999, 1_000, 1_001].map((ms) => ring.admits({ authorization: `Bearer ${text}` }, ms))).toEqual([
      true,
      true,
      false,
    ]);
  });

  it("finds a key by its public id and by nothing else", () => {
    expect([GOOD.text, UNKNOWN, `${GOOD.text}x`, ` ${GOOD.text}`, "skein-", ""].map(apiKeyId)).toEqual([
      "0123456789ab",
      "ffffffffffff",
      null,
      null,
      null,
      null,
    ]);
    // The hash of nothing is a hash too: without a key in the request nobody is let in by it.
    const empty = createHash("sha256").update("").digest("hex");
    expect(new Keyring([{ id: "", hash: empty, expiresAtMs: null }]).admits({}, 0)).toBe(false);
  });
});

describe("the warning about clients of other machines", () => {
  it("names the applications that ask for no key, and only while there are some", async () => {
    const said: string[] = [];
    const running = stopped(await run({ http: { host: "0.0.0.0" }, log: (line) => said.push(line) }));
    const app = (name: string, apiKeys?: RoutedApiKey[]) => ({
      name,
      routePrefix: `/${name}`,
      ingress: "D",
      grpcServices: [],
      ...(apiKeys === undefined ? {} : { apiKeys }),
    });
    expect(said).toEqual([]);
    running.route({ apps: [app("a", [GOOD.kept]), app("b")] });
    await until(() => said.length === 1);
    running.route({ apps: [app("a", []), app("b")] });
    running.route({ apps: [app("a", [GOOD.kept]), app("b", [GOOD.kept])] });
    running.route({ apps: [app("a", [GOOD.kept]), app("c")] });
    expect(said.map((line) => line.replace(/:\d+/, ":port"))).toEqual([
      "Clients of other machines can reach 0.0.0.0:port, and no API key is set for b.",
      "Clients of other machines can reach 0.0.0.0:port, and no API key is set for c.",
    ]);
  });
});
