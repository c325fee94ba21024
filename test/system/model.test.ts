/** A small real language model behind the whole mesh, on each provider that Node has, under the permission flags that ship. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { swiftshaderEnv } from "../support/browser-kit.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";
import { eventually, SystemMesh } from "./mesh.ts";

const APPS = fileURLToPath(new URL("./apps", import.meta.url));
const PROVIDERS = ["native", "wasm", "webgpu"] as const;

describe("a model on workers of every kind that Node has", () => {
  let mesh: SystemMesh;
  let folder = "";
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "skein-tiny-"));
    writeFileSync(join(folder, "tiny.gguf"), makeTinyGguf().bytes);
    const software = await swiftshaderEnv();
    mesh = await SystemMesh.start({
      workers: PROVIDERS.length,
      appDir: APPS,
      agent: (index) => ({
        device: PROVIDERS[index] ?? "auto",
        resources: { [PROVIDERS[index] ?? "auto"]: 1 },
        gpus: null,
        ...(PROVIDERS[index] === "webgpu" ? { allowSoftwareGpu: true, env: software } : {}),
      }),
    });
  });
  afterAll(async () => {
    await mesh?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it("finds the software adapter, and counts it only where that is allowed", async () => {
    await eventually(
      async () =>
        (await mesh.status()).skein.workers.some((w) => w.resources.gpus === 1 && /swiftshader/i.test(w.adapter ?? "")),
      "the probe has ended",
    );
    const { workers } = (await mesh.status()).skein;
    expect(workers.filter((w) => w.resources.gpus === 0).map((w) => w.adapter)).toEqual([null, null]);
  });

  it("answers the same tokens on each of them", async () => {
    const model = join(folder, "tiny.gguf");
    await mesh.deploy(
      PROVIDERS.map((on) => ({
        name: on,
        route_prefix: `/${on}`,
        import_path: "tiny:app",
        args: { model, on, gpus: on === "webgpu" ? 1 : 0 },
      })),
    );
    for (const on of PROVIDERS) expect((await mesh.fetch(`/${on}`)).text).toBe(on);
    const answers = await Promise.all(
      PROVIDERS.map((on) => mesh.fetch(`/${on}`, { method: "POST", body: JSON.stringify("Once upon a time") })),
    );
    expect(answers.map((a) => a.status)).toEqual([200, 200, 200]);
    expect(answers[0]?.text.length).toBeGreaterThan(10);
    expect(answers[1]?.text).toBe(answers[0]?.text);
    expect(answers[2]?.text).toBe(answers[0]?.text);
  });
});
