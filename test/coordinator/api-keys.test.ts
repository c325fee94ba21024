/** API keys through the operators' API: made once, listed without secrets, carried to ingresses as hashes, kept over restarts. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { canonicalJson, sha256Hex } from "../../protocol/artefact.ts";
import { API_KEYS_MAX } from "../../protocol/limits.ts";
import type { RoutedApp } from "../../protocol/routes.ts";
import { routingTable } from "../../coordinator/routing-table.ts";
import { manifest } from "./manifest.ts";
import { startReal, type Real } from "./real.ts";

const open: Real[] = [];
const start = async (...options: Parameters<typeof startReal>): Promise<Real> => {
  const real = await startReal(...options);
  open.push(real);
  return real;
};
afterEach(async () => {
  for (const real of open.splice(0)) await real.stop();
});

interface Made {
  readonly id: string;
  readonly key: string;
  readonly deployed: boolean;
  readonly expires_at_ms: number | null;
}
const create = async (real: Real, wish: object): Promise<Made> => {
  const answer = await real.call("/api/skein/api-keys", { method: "POST", body: JSON.stringify(wish) });
  expect(answer.status).toBe(200);
  return (await answer.json()) as Made;
};
const list = async (real: Real): Promise<{ keys: { id: string }[]; unreachable: string[] }> =>
  (await (await real.call("/api/skein/api-keys")).json()) as { keys: { id: string }[]; unreachable: string[] };

/** Deploys an application without code and returns what ingresses are told of it. */
async function deploy(real: Real, name: string, http = "127.0.0.1"): Promise<string> {
  const bundle = "export const app = 1;";
  const hash = await sha256Hex(bundle);
  const text = canonicalJson({ ...manifest(), bundles: { node: hash, browser: hash } });
  const artefact = await sha256Hex(text);
  for (const [blob, body] of [
    [hash, bundle],
    [artefact, text],
  ] as const)
    await real.call(`/api/skein/blobs/${blob}`, { method: "PUT", body });
  const app = { name, import_path: "m:app", artefact };
  const answer = await real.call("/api/serve/applications/", {
    method: "PUT",
    body: JSON.stringify({ http_options: { host: http }, applications: [app] }),
  });
  expect(answer.status).toBe(200);
  return answer.text();
}
const routed = (real: Real): Partial<RoutedApp> | undefined => {
  const { state } = real.loop;
  return routingTable(state, state.headHost).apps[0];
};

describe("an API key", () => {
  it("is shown when it is made and never again; only its hash is stored", async () => {
    const real = await start();
    const made = await create(real, { app: "chat", name: "front end", expires_in_s: 60 });
    expect(made.key).toBe(`skein-${made.id}-${made.key.slice(-43)}`);
    expect(made.deployed).toBe(false);
    const shown = await list(real);
    expect(shown).toEqual({
      keys: [
        {
          id: made.id,
          app: "chat",
          name: "front end",
          created_at_ms: expect.any(Number),
          expires_at_ms: made.expires_at_ms,
          expired: false,
        },
      ],
      unreachable: [],
    });
    await real.stop();
    open.pop();
    const stored = readdirSync(join(real.dataDir, "coordinator"))
      .filter((name) => name.startsWith("state.db"))
      .map((name) => readFileSync(join(real.dataDir, "coordinator", name), "latin1"))
      .join("");
    expect(stored).toContain(createHash("sha256").update(made.key).digest("hex"));
    expect(stored).not.toContain(made.key.slice(-43));
  });

  it("closes its application, also before that is deployed; ingresses get hashes", async () => {
    const real = await start();
    const { key, id } = await create(real, { app: "chat" });
    await deploy(real, "chat");
    const hash = createHash("sha256").update(key).digest("hex");
    expect(routed(real)).toMatchObject({ name: "chat", apiKeys: [{ id, hash, expiresAtMs: null }] });
    await deploy(real, "other");
    expect(routed(real)).not.toHaveProperty("apiKeys");
  });

  it("leaves its application closed when it is revoked or over, until an operator opens it", async () => {
    let now = 1_000_000;
    const real = await start({}, { now: () => now });
    await deploy(real, "chat");
    const first = await create(real, { app: "chat" });
    expect(first.deployed).toBe(true);
    await create(real, { app: "chat", expires_in_s: 60 });
    const revoke = async (id: string): Promise<number> =>
      (await real.call(`/api/skein/api-keys/${id}`, { method: "DELETE" })).status;
    expect([await revoke(first.id), await revoke(first.id), await revoke("nonsense")]).toEqual([200, 404, 404]);
    expect([(await list(real)).unreachable, routed(real)?.apiKeys?.length]).toEqual([[], 1]);
    now += 60_001;
    expect(await list(real)).toMatchObject({ keys: [{ expired: true }], unreachable: ["chat"] });
    expect(await revoke((await list(real)).keys[0]!.id)).toBe(200);
    expect([await list(real), routed(real)?.apiKeys]).toEqual([{ keys: [], unreachable: ["chat"] }, []]);
    const opened = async (): Promise<number> =>
      (await real.call("/api/skein/applications/chat/api-keys", { method: "DELETE" })).status;
    expect([await opened(), await opened()]).toEqual([200, 404]);
    expect([await list(real), routed(real)?.apiKeys]).toEqual([{ keys: [], unreachable: [] }, undefined]);
  });

  it.each(["mesh", "run"] as const)("survives the next start of a %s, and its application's removal", async (state) => {
    const first = await start({ state });
    await deploy(first, "chat");
    const { id } = await create(first, { app: "chat" });
    expect((await first.call("/api/skein/applications/chat", { method: "DELETE" })).status).toBe(200);
    await first.stop();
    open.pop();
    const second = await start({ dataDir: first.dataDir, state });
    expect((await list(second)).keys.map((key) => key.id)).toEqual([id]);
    await deploy(second, "chat");
    expect(routed(second)).toMatchObject({ apiKeys: [{ id }] });
  });

  it.each([
    [{}, "app: expected the name"],
    [{ app: 7 }, "app: expected the name"],
    [{ app: "constructor" }, "app: expected the name"],
    [{ app: "__proto__" }, "app: expected the name"],
    [{ app: "a".repeat(129) }, "app: expected the name"],
    [{ app: "chat", expires_in_s: -1 }, "expires_in_s: expected a number"],
    [{ app: "chat", expires_in_s: "soon" }, "expires_in_s: expected a number"],
  ])("is not made for %j", async (wish, problem) => {
    const real = await start();
    const answer = await real.call("/api/skein/api-keys", { method: "POST", body: JSON.stringify(wish) });
    expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining(problem)]);
    expect((await list(real)).keys).toEqual([]);
  });

  it("has a bound on its number", async () => {
    const real = await start();
    await real.loop.dispatch({
      type: "apiKeyCreated",
      key: { id: "x", app: "chat", name: "", hash: "", createdAtMs: 0, expiresAtMs: null },
    });
    const [one] = real.loop.state.desired.apiKeys["chat"]!;
    for (let i = 1; i < API_KEYS_MAX; i += 1)
      void real.loop.dispatch({ type: "apiKeyCreated", key: { ...one!, id: String(i) } });
    await real.loop.tick();
    const answer = await real.call("/api/skein/api-keys", { method: "POST", body: '{"app": "chat"}' });
    expect([answer.status, await answer.text()]).toEqual([409, expect.stringContaining("Revoke some first")]);
  });
});

it("a deploy warns of clients of other machines, by name, while an application asks for no key", async () => {
  const real = await start();
  const warning = /http_options\.host 0\.0\.0\.0: anyone who reaches this machine can call chat\./;
  expect(await deploy(real, "chat", "0.0.0.0")).toMatch(warning);
  const page = async (): Promise<string> => (await real.call("/api/skein/page")).text();
  expect(await page()).toMatch(warning);
  await create(real, { app: "chat" });
  expect(await deploy(real, "chat", "0.0.0.0")).toBe("");
  expect(await page()).not.toMatch(warning);
});
