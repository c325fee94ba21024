import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BlobCache } from "../../../worker/node/blob-cache.ts";
import { FakeMesh } from "./fake-mesh.ts";

describe("bundles on the disk", () => {
  let mesh: FakeMesh;
  let url = "";
  let folder = "";
  let artefact = "";
  beforeEach(async () => {
    mesh = new FakeMesh();
    url = await mesh.start();
    folder = mkdtempSync(join(tmpdir(), "skein-blobs-"));
    artefact = await mesh.addArtefact();
  });
  afterEach(async () => {
    await mesh.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it("are fetched once, with the worker's ticket, however many ask", async () => {
    const cache = new BlobCache(folder, [url]);
    const manifests = await Promise.all([1, 2, 3].map(() => cache.manifest(artefact, "t")));
    const node = manifests[0]?.bundles.node ?? "";
    const path = await cache.path(node, "mjs", "t");
    expect(readFileSync(path, "utf8")).toBe("export const app = 1;\n");
    expect(await new BlobCache(folder, [url]).path(node, "mjs", "t")).toBe(path);
    expect(mesh.blobRequests).toEqual([
      { path: `/blobs/${artefact}`, authorization: "Bearer t" },
      { path: `/blobs/${node}`, authorization: "Bearer t" },
    ]);
  });

  it("are refused when they are not what their name says, and fetched again when the disk's copy isn't", async () => {
    const cache = new BlobCache(folder, [url]);
    const path = await cache.path(artefact, "json", "t");
    writeFileSync(path, "spoilt");
    expect(readFileSync(await cache.path(artefact, "json", "t"), "utf8")).toContain('"schema":1');
    mesh.blobs.set("f".repeat(64), new TextEncoder().encode("other"));
    await expect(cache.path("f".repeat(64), "mjs", "t")).rejects.toMatchObject({ code: "PROTOCOL" });
    expect(existsSync(join(folder, `${"f".repeat(64)}.mjs`))).toBe(false);
    expect(readdirSync(folder).some((name) => name.includes("partial"))).toBe(false);
  });

  it("go when there are too many bytes: those that weren't used for longest, and none of the last hour", async () => {
    const cache = new BlobCache(folder, [url], 1_000);
    const file = (name: string, hoursAgo: number): string => {
      const path = join(folder, name);
      writeFileSync(path, "x".repeat(600));
      utimesSync(path, Date.now() / 1000 - hoursAgo * 3600, Date.now() / 1000 - hoursAgo * 3600);
      return path;
    };
    const [older, old, recent] = [file("a.mjs", 5), file("b.mjs.partial-1", 4), file("c.mjs", 0.5)];
    const kept = await cache.path(artefact, "json", "t");
    expect([older, old, recent, kept].map((path) => existsSync(path))).toEqual([false, false, true, true]);
    // Used again, it is young again.
    utimesSync(kept, 1, 1);
    await cache.path(artefact, "json", "t");
    expect(statSync(kept).mtimeMs).toBeGreaterThan(Date.now() - 60_000);
  });

  it("come from the next URL when one doesn't answer, and never from a name that is a path", async () => {
    const cache = new BlobCache(folder, ["http://127.0.0.1:1", url]);
    await cache.path(artefact, "json", "t");
    await expect(cache.path("../secret", "mjs", "t")).rejects.toMatchObject({ code: "PROTOCOL" });
    await expect(cache.path("0".repeat(64), "mjs", "t")).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining("it answered 404"),
    });
  });
});
