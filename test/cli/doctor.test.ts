/** What the doctor says about machines that lack something. */
import { expect, test } from "vitest";
import { checks, doctorText, type Facts } from "../../cli/doctor/checks.ts";

const well: Facts = {
  node: "26.10.0",
  threads: 8,
  memoryBytes: 16 * 1024 ** 3,
  dataDir: "/home/me/.local/share/skein",
  diskFreeBytes: 50 * 1024 ** 3,
  dataDirUse: {},
  dataDirTrouble: null,
  modelCached: true,
  pip: { version: "pip 23" },
  providers: { native: null, wasm: null, webgpu: null },
  adapters: [{ name: "nvidia ada", software: false }],
  ports: [{ port: 8000, purpose: "HTTP clients", option: "--http-port", trouble: null }],
  mesh: null,
};
const found = (facts: Partial<Facts>) => checks({ ...well, ...facts }).filter((check) => check.level !== "ok");

test("a machine that has all", () => {
  expect(found({})).toEqual([]);
  expect(doctorText(checks(well))).toMatchInlineSnapshot(`
    "ok    Node           v26.10.0
    ok    threads        8
    ok    memory         16.0 GiB
    ok    data folder    /home/me/.local/share/skein
    ok    disk           50.0 GiB free
    ok    default model  in the cache
    ok    native         ONNX Runtime for Node loads
    ok    wasm           ONNX Runtime Web is there
    ok    webgpu         nvidia ada
    ok    port 8000      free (HTTP clients)
    "
  `);
});

test("the data folder's largest parts are named with their sizes", () => {
  const use = { models: 98 * 1024 ** 2, prepared: 205.6 * 1024 ** 2, "host-id": 40 };
  expect(checks({ ...well, dataDirUse: use }).find(({ name }) => name === "data folder")).toMatchObject({
    level: "ok",
    text: `${well.dataDir} (prepared 206 MiB, models 98 MiB)`,
  });
});

test("each lack is named with its fix", () => {
  expect(found({ node: "20.1.0" })).toMatchObject([{ name: "Node", level: "fail", fix: "Install Node 24 or newer." }]);
  expect(found({ dataDirTrouble: "EROFS" })).toMatchObject([
    { name: "data folder", level: "fail", fix: expect.stringContaining("SKEIN_DATA_DIR") },
  ]);
  expect(found({ diskFreeBytes: 1000 })).toMatchObject([{ name: "disk", level: "warn" }]);
  expect(found({ modelCached: false, pip: { trouble: "install pip" } })).toMatchObject([
    { name: "default model", level: "warn", fix: expect.stringContaining("install pip") },
  ]);
  expect(found({ providers: { native: "no add-on", wasm: "gone", webgpu: "no Vulkan" } })).toMatchObject([
    { name: "native", level: "warn" },
    { name: "wasm", level: "fail" },
    { name: "webgpu", level: "warn" },
  ]);
  expect(
    found({ ports: [{ port: 8000, purpose: "HTTP clients", option: "--http-port", trouble: "EADDRINUSE" }] }),
  ).toMatchObject([{ name: "port 8000", level: "warn", text: "in use by another program (HTTP clients)" }]);
});

test("what is in order isn't complained about", () => {
  expect(found({ modelCached: false })).toEqual([]);
  expect(found({ adapters: [] })).toEqual([]);
  expect(
    found({ mesh: "http://127.0.0.1:8265", ports: [{ port: 8265, purpose: "x", option: "y", trouble: "EADDRINUSE" }] }),
  ).toEqual([]);
  expect(
    checks({ ...well, adapters: [{ name: "SwiftShader", software: true }] }).find((c) => c.name === "webgpu")?.text,
  ).toContain("--allow-software-gpu");
});
