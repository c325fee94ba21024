/** Which checkpoints a tab may read: those of the catalogue and of the application folder, nothing else of the coordinator's disk. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { LocateModel } from "../../../protocol/local.ts";
import { childReady, spawnChild } from "../../../protocol/node/parent.ts";

const PROGRAM = new URL("../../../worker/node/locate-model-main.ts", import.meta.url);

describe("a checkpoint for tabs", () => {
  let folder = "";
  const inApp = (name: string): string => join(folder, "app", name);
  beforeAll(() => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), "skein-locate-")));
    mkdirSync(join(folder, "app"));
    writeFileSync(inApp("own.gguf"), "model");
    writeFileSync(join(folder, "other.gguf"), "secret");
    writeFileSync(inApp("notes.txt"), "not a model");
    symlinkSync(join(folder, "other.gguf"), inApp("link.gguf"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const locate = async (name: string): Promise<string | null> => {
    const child = spawnChild(PROGRAM, { output: "ignore" });
    const question = { name, dataDir: join(folder, "data"), appDir: join(folder, "app") };
    return (await childReady<LocateModel, { path: string | null }>(child, question)).path;
  };

  test("is found in the application folder, by path from there or from the root", async () => {
    expect(await locate("./own.gguf")).toBe(inApp("own.gguf"));
    expect(await locate(inApp("own.gguf"))).toBe(inApp("own.gguf"));
  });

  test("is not found elsewhere, through links, or when it is no model", async () => {
    for (const name of [
      join(folder, "other.gguf"),
      "../other.gguf",
      "./link.gguf",
      "./notes.txt",
      "/etc/passwd",
      "./gone.gguf",
      "unknown",
      // Nothing is fetched for a tab that the catalogue doesn't have: these answer without a host to ask.
      "hf:owner/repository",
      `https://models.example/x.gguf#sha256=${"ab".repeat(32)}`,
    ])
      expect([name, await locate(name)]).toEqual([name, null]);
  });
});
