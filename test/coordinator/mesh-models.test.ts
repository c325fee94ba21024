/** Models at the mesh port: who may ask, what a listing says, which files can be read, and what happens when they change. */
import { mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { meshHttp, type MeshHttp } from "../../coordinator/mesh/http.ts";
import { MeshModels } from "../../coordinator/mesh/models.ts";
import { MODEL_NAME_MAX, MODEL_SEARCHES_MAX } from "../../protocol/limits.ts";
import type { FoundModel, ModelRefusal } from "../../protocol/local.ts";
import { modelListingSchema } from "../../protocol/model-listing.ts";

const HASH = "ab".repeat(32);

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "skein-mesh-models-"));
  mkdirSync(join(folder, "1_Pooling"));
  writeFileSync(join(folder, "1_Pooling", "config.json"), "{}");
  writeFileSync(join(folder, "model.safetensors"), "0123456789");
  writeFileSync(join(folder, "secret"), "secret");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function found(): FoundModel {
  const files = ["1_Pooling/config.json", "model.safetensors"].map((file, i) => {
    const path = join(folder, file);
    const { size, mtimeMs } = statSync(path);
    return { file, bytes: size, sha256: i === 0 ? null : HASH, path, modifiedMs: mtimeMs };
  });
  return { entry: null, files };
}

function meshWith(find: (name: string) => Promise<FoundModel | ModelRefusal>, busy = ["busy"]) {
  const asked: string[] = [];
  const models = new MeshModels((name) => {
    asked.push(name);
    return find(name);
  });
  const gate = {
    ticket: (text: string) => (text === "replica" ? { use: "replica" } : { use: "worker", worker: text }),
  };
  const http = meshHttp({
    gate,
    models,
    hasReplica: (worker: string) => busy.includes(worker),
    listensOn: "127.0.0.1",
    advertised: () => [],
  } as unknown as MeshHttp);
  const get = async (path: string, ticket: string | null = "busy", range?: string) => {
    const headers = {
      host: "127.0.0.1",
      ...(ticket === null ? {} : { authorization: `Bearer ${ticket}` }),
      ...(range === undefined ? {} : { range }),
    };
    const answer = await http.request(`http://127.0.0.1${path}`, { headers });
    return { status: answer.status, text: await answer.text() };
  };
  return { asked, models, get };
}

test("a listing names files with sizes, and hashes where they are known; places on this disk stay here", async () => {
  const { get, asked } = meshWith(async () => found());
  const { status, text } = await get(`/models/${encodeURIComponent("hf:owner/model:a/b.gguf")}`);
  expect([status, asked]).toEqual([200, ["hf:owner/model:a/b.gguf"]]);
  expect(modelListingSchema.parse(JSON.parse(text))).toEqual({
    entry: null,
    files: [
      { file: "1_Pooling/config.json", bytes: 2, sha256: null },
      { file: "model.safetensors", bytes: 10, sha256: HASH },
    ],
  });
  expect(text).not.toContain(folder);
});

test("files of the listing are read, by ranges too, and no others", async () => {
  const { get, asked } = meshWith(async () => found());
  expect(await get("/models/x/model.safetensors")).toEqual({ status: 200, text: "0123456789" });
  expect(await get("/models/x/model.safetensors", "busy", "bytes=3-5")).toEqual({ status: 206, text: "345" });
  expect(await get(`/models/x/${encodeURIComponent("1_Pooling/config.json")}`)).toEqual({ status: 200, text: "{}" });
  for (const file of ["secret", "../secret", join(folder, "secret"), "1_Pooling/../secret", "./model.safetensors", ""])
    expect([file, (await get(`/models/x/${encodeURIComponent(file)}`)).status]).toEqual([file, 404]);
  expect((await get("/models/x/../../secret")).status).toBe(404);
  expect(asked).toEqual(["x"]);
});

test("only a worker that has a replica may ask, and nothing is looked for before", async () => {
  const { get, asked } = meshWith(async () => found());
  for (const path of ["/models/x", "/models/x/model.safetensors"]) {
    for (const ticket of [null, "replica"])
      expect(await get(path, ticket)).toEqual({ status: 401, text: "401: Unauthorized" });
    expect(await get(path, "idle")).toEqual({ status: 404, text: "404: Not Found" });
  }
  expect(asked).toEqual([]);
});

test("is looked for once, however many ask, and again when a file has changed or the search failed", async () => {
  let answer: FoundModel | ModelRefusal = { code: "PERMISSION_DENIED", message: "models may not come from there" };
  const { get, asked } = meshWith(async () => answer);
  expect(await get("/models/x")).toEqual({ status: 403, text: "models may not come from there" });
  answer = found();
  await Promise.all([get("/models/x"), get("/models/x"), get("/models/x/model.safetensors")]);
  expect(asked).toEqual(["x", "x"]);
  utimesSync(join(folder, "model.safetensors"), 1, 1);
  expect(await get("/models/x/model.safetensors")).toMatchObject({
    status: 503,
    text: expect.stringContaining("has changed"),
  });
  answer = found();
  expect((await get("/models/x/model.safetensors")).status).toBe(200);
  expect(asked).toEqual(["x", "x", "x"]);
  writeFileSync(join(folder, "model.safetensors"), "longer than before");
  answer = found();
  expect(JSON.parse((await get("/models/x")).text).files[1].bytes).toBe(18);
  expect(asked).toHaveLength(4);
});

test("so many at a time, and names have an end", async () => {
  const waiting: ((value: FoundModel) => void)[] = [];
  const { get, models } = meshWith(() => new Promise((resolve) => waiting.push(resolve)));
  const first = Array.from({ length: MODEL_SEARCHES_MAX }, (_, i) => models.listing(`model ${i}`));
  expect((await get("/models/more")).status).toBe(503);
  for (const resolve of waiting) resolve(found());
  await Promise.all(first);
  expect((await get(`/models/${"x".repeat(MODEL_NAME_MAX + 1)}`)).status).toBe(400);
});
