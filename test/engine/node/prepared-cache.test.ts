import { execFile } from "node:child_process";
import { renameSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sourceOfBytes } from "../../../engine/gguf/source.ts";
import { type CacheProgress, openPrepared, prepareCached } from "../../../engine/node/prepared-cache.ts";
import { prepareInMemory } from "../../../engine/prepare.ts";
import { WEIGHTS_COPY_BYTES } from "../../../engine/limits.ts";
import { createWasmRunner } from "../../../engine/providers/wasm.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";

const PROGRAM = new URL("../../../engine/prepare-main.ts", import.meta.url).pathname;
const tiny = makeTinyGguf({ format: "Q4_1" });
let folder: string;
let file: string;
let cache: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skein-prepared-"));
  file = join(folder, "tiny.gguf");
  cache = join(folder, "cache", "prepared");
  await writeFile(file, tiny.bytes);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const prepare = (onProgress?: (progress: CacheProgress) => void): Promise<string> =>
  prepareCached({ file, target: "native", cache, now: Date.now(), ...(onProgress && { onProgress }) });

/** Runs the program; stdout as parsed lines. */
function program(...args: readonly string[]): Promise<{ code: number; lines: unknown[]; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [PROGRAM, ...args], (error, stdout, stderr) => {
      const lines = stdout
        .trim()
        .split("\n")
        .filter((line) => line !== "")
        .map((line): unknown => JSON.parse(line));
      resolve({ code: typeof error?.code === "number" ? error.code : 0, lines, stderr });
    });
  });
}

test("what is opened from the cache equals what is prepared in memory", async () => {
  const stored = await openPrepared(await prepare());
  const fresh = await prepareInMemory(sourceOfBytes(tiny.bytes), { target: "native" });
  const { weights, directory, ...rest } = stored;
  expect(directory).toContain(cache);
  expect({ ...rest, weights: weights.subarray(0, weights.byteLength) }).toEqual(fresh);
});

test("what depends on the slots' length is prepared for short and for long ones, everything else once", async () => {
  const made = async (slotLength?: number): Promise<string> =>
    prepareCached({ file, target: "wasm", cache, now: Date.now(), ...(slotLength !== undefined && { slotLength }) });
  expect([await made(100_000), await made()]).toEqual([await made(1), await made(1)]);
  await writeFile(file, makeTinyGguf({ kind: "longrope" }).bytes);
  const [short, long] = [await made(), await made(65)];
  expect([await made(64), await made(70), short === long]).toEqual([short, long, false]);
  expect([(await openPrepared(short)).positions, (await openPrepared(long)).positions]).toEqual([64, 512]);
});

test("a second time it is there already; other bytes and other targets are something else", async () => {
  const stages: string[] = [];
  const first = await prepare(({ stage }) => stages.push(stage));
  expect(new Set(stages)).toEqual(new Set(["hash", "convert"]));
  stages.length = 0;
  expect(await prepare(({ stage }) => stages.push(stage))).toBe(first);
  expect(new Set(stages)).toEqual(new Set(["hash"]));
  const wasm = await prepareCached({ file, target: "wasm", cache, now: Date.now() });
  await writeFile(file, makeTinyGguf({ format: "Q4_1", seed: 2 }).bytes);
  expect(new Set([first, wasm, await prepare()]).size).toBe(3);
});

test("weights on disk are read by the wasm provider in stretches", async () => {
  const directory = await prepareCached({ file, target: "wasm-f32", cache, now: Date.now() });
  const prepared = await openPrepared(directory);
  const sizes: number[] = [];
  const weights = {
    byteLength: prepared.weights.byteLength,
    subarray(start: number, end: number) {
      sizes.push(end - start);
      return prepared.weights.subarray(start, end);
    },
  };
  const runner = await createWasmRunner({ ...prepared, weights }, { threads: 1, slots: 1, slotLength: 8 });
  expect(await runner.prefill(0, Int32Array.of(1), 0, true)).toHaveLength(512);
  await runner.release();
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(weights.byteLength);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(WEIGHTS_COPY_BYTES);
  expect(sizes.length).toBeGreaterThan(2);
});

test("two processes at once both succeed, and one result is left", async () => {
  const args = ["--gguf", file, "--target", "native", "--cache", cache];
  const results = await Promise.all([program(...args), program(...args), prepare()]);
  const [directory] = await readdir(cache);
  expect(await readdir(cache)).toHaveLength(1);
  for (const result of results.slice(0, 2) as Awaited<ReturnType<typeof program>>[]) {
    expect(result.stderr).toBe("");
    expect(result.code).toBe(0);
    expect(result.lines.at(-1)).toEqual({ prepared: join(cache, directory!) });
    expect(result.lines.length).toBeLessThan(250);
  }
  expect((await openPrepared(join(cache, directory!))).config).toMatchObject({ layers: 2 });
});

test("a process that is overtaken while it converts takes the other's result", async () => {
  const winner = await prepare();
  const aside = join(folder, "aside");
  renameSync(winner, aside);
  let overtaken = false;
  const directory = await prepare(({ stage }) => {
    if (stage !== "convert" || overtaken) return;
    renameSync(aside, winner);
    overtaken = true;
  });
  expect(overtaken).toBe(true);
  expect(directory).toBe(winner);
  expect(await readdir(cache)).toHaveLength(1);
});

test("a file that is cut off leaves nothing in the cache", async () => {
  await truncate(file, tiny.bytes.length - 1_000);
  await expect(prepare()).rejects.toThrow(/cut off; fetch it again/);
  expect(await readdir(cache)).toEqual([]);
});

test("what a killed process left is removed after an hour, not before", async () => {
  const partial = (n: number): string => join(cache, `abc-native-v1.partial-00000000-0000-0000-0000-00000000000${n}`);
  for (const n of [1, 2]) await mkdir(partial(n), { recursive: true });
  const longAgo = new Date(Date.now() - 2 * 60 * 60 * 1000);
  await utimes(partial(1), longAgo, longAgo);
  const directory = await prepare();
  expect((await readdir(cache)).map((name) => join(cache, name)).sort()).toEqual([partial(2), directory].sort());
});

test("a conversion of another version is not opened", async () => {
  const directory = await prepare();
  const manifest = join(directory, "prepared.json");
  await writeFile(manifest, (await readFile(manifest, "utf8")).replace(/"formatVersion":\d+/, '"formatVersion":0'));
  await expect(openPrepared(directory)).rejects.toThrow(/another version.*prepare the checkpoint again/);
});

test("the program's errors are one line and an exit code", async () => {
  expect(await program("--gguf", PROGRAM, "--target", "native", "--cache", cache)).toMatchObject({
    code: 1,
    stderr: `can't prepare ${PROGRAM}: this is not a GGUF file: it doesn't begin with the letters GGUF\n`,
  });
  const missing = await program("--gguf", join(folder, "no"), "--target", "native", "--cache", cache);
  expect(missing.code).toBe(1);
  expect(missing.stderr).toMatch(/^can't prepare .*no: ENOENT.*\n$/);
  const usage = await program("--gguf", file, "--target", "cuda", "--cache", cache);
  expect(usage.code).toBe(2);
  expect(usage.stderr).toContain(
    "usage: prepare-main.ts --gguf FILE --target native|wasm|webgpu|f32|wasm-f32 --cache DIR",
  );
});
