/** A model's files as a tab reads them: checked while they come, gone on with where they were cut, read by ranges where they are large. */
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import type { ListedFile } from "../../../protocol/model-listing.ts";
import { MODEL_SMALL_MAX } from "../../../worker/browser/limits.ts";
import { ModelFiles } from "../../../worker/browser/model-files.ts";

const CONTENT = Uint8Array.from({ length: 100_003 }, (_, i) => (i * i) & 0xff);
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** A mesh that has CONTENT under any name; `cut` bytes of each answer come, then the connection breaks. */
function meshOf({ content = CONTENT, cut = Infinity, status = 206 } = {}) {
  const asked: string[] = [];
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const headers = new Headers(init?.headers);
    asked.push(`${String(input)} ${headers.get("range")} ${headers.get("authorization")}`);
    if (status !== 206) return new Response("The words.", { status });
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.get("range")!)!;
    const bytes = content.slice(Number(from), Number(to) + 1);
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < Math.min(cut, bytes.length); at += 30_000)
          controller.enqueue(bytes.slice(at, Math.min(at + 30_000, cut)));
        if (cut >= bytes.length) controller.close();
      },
      // What came before is read before this.
      pull: (controller) => controller.error(new TypeError("network error")),
    });
    return new Response(body, { status: 206 });
  };
  return { asked, fetch };
}

function filesOf(mesh: { fetch: typeof globalThis.fetch }, listed: Partial<ListedFile> = {}) {
  const file: ListedFile = { file: "a/model.bin", bytes: CONTENT.length, sha256: sha256(CONTENT), ...listed };
  let fetched = 0;
  const files = new ModelFiles(
    { url: "http://mesh/models/x", listing: { entry: null, files: [file] }, authorization: "Bearer t" },
    mesh.fetch,
    (bytes) => (fetched += bytes),
  );
  return { files, fetched: () => fetched };
}
const bytesOf = async (blob: Blob): Promise<Uint8Array> => new Uint8Array(await blob.arrayBuffer());

test("a small file comes whole, once, by the ticket, and nothing but what is listed", async () => {
  const mesh = meshOf();
  const { files, fetched } = filesOf(mesh);
  const source = (await files.open("a/model.bin"))!;
  expect(await source.read(7, 5)).toEqual(CONTENT.subarray(7, 12));
  await files.fetchAll();
  expect(await bytesOf(await files.whole("a/model.bin"))).toEqual(CONTENT);
  expect(mesh.asked).toEqual([`http://mesh/models/x/a%2Fmodel.bin bytes=0-${CONTENT.length - 1} Bearer t`]);
  expect(fetched()).toBe(CONTENT.length);
  expect(await files.open("model.bin")).toBeUndefined();
  await expect(files.whole("../secret")).rejects.toThrow("the model has no file ../secret");
});

test("goes on where it was cut, and is checked as a whole", async () => {
  const mesh = meshOf({ cut: 40_000 });
  expect(await bytesOf(await filesOf(mesh).files.whole("a/model.bin"))).toEqual(CONTENT);
  expect(mesh.asked.map((line) => line.split(" ")[1])).toEqual([0, 40_000, 80_000].map((from) => `bytes=${from}-${CONTENT.length - 1}`)); // prettier-ignore
});

test("other bytes than the hash says are refused; without a hash they are taken", async () => {
  const content = CONTENT.with(50_000, CONTENT[50_000]! ^ 1);
  await expect(filesOf(meshOf({ content })).files.whole("a/model.bin")).rejects.toMatchObject({ code: "PROTOCOL" });
  const { files } = filesOf(meshOf({ content }), { sha256: null });
  expect(await bytesOf(await files.whole("a/model.bin"))).toEqual(content);
});

test("is given up when nothing more comes, and when the mesh refuses, in its words", async () => {
  const dead = meshOf({ cut: 0 });
  await expect(filesOf(dead).files.whole("a/model.bin")).rejects.toThrow("at byte 0 of 100003 (network error)");
  expect(dead.asked).toHaveLength(3);
  const refusing = meshOf({ status: 503 });
  await expect(filesOf(refusing).files.whole("a/model.bin")).rejects.toThrow(
    "answered 503 when asked for a/model.bin: The words.",
  );
  expect(refusing.asked).toHaveLength(1);
});

test("an empty file needs no request", async () => {
  const mesh = meshOf();
  const { files } = filesOf(mesh, { bytes: 0, sha256: sha256(new Uint8Array(0)) });
  expect((await files.whole("a/model.bin")).size).toBe(0);
  expect(mesh.asked).toEqual([]);
});

test("a large file is read by ranges for its header, before it is fetched", async () => {
  const mesh = meshOf();
  const { files, fetched } = filesOf(mesh, { bytes: MODEL_SMALL_MAX + 1, sha256: null });
  const source = (await files.open("a/model.bin"))!;
  expect(source.size).toBe(MODEL_SMALL_MAX + 1);
  expect(await source.read(100, 50_000)).toEqual(CONTENT.subarray(100, 50_100));
  expect(mesh.asked.map((line) => line.split(" ")[1])).toEqual(["bytes=100-50099"]);
  expect(fetched()).toBe(0);
  await expect(source.read(MODEL_SMALL_MAX, 2)).rejects.toThrow(RangeError);
});
