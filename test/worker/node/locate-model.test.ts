/** Which models a tab may read: those that have a name, fetched if need be, and those of the application folder; nothing else of the coordinator's disk. */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { FoundModel, LocateModel, ModelRefusal } from "../../../protocol/local.ts";
import { childReady, spawnChild } from "../../../protocol/node/parent.ts";
import { startHub } from "../../support/fake-hub.ts";
import { makeTinyEncoder } from "../../support/tiny-encoder.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";
import { affineGraph, onnxEncoder, writeRepository } from "../../support/tiny-onnx.ts";

const PROGRAM = new URL("../../../worker/node/locate-model-main.ts", import.meta.url);
const gguf = makeTinyGguf().bytes;
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe("a model for tabs", () => {
  let folder = "";
  const inApp = (name: string): string => join(folder, "app", name);
  beforeAll(async () => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), "skein-locate-")));
    mkdirSync(join(folder, "app"));
    writeFileSync(inApp("own.gguf"), gguf);
    writeFileSync(inApp("own.onnx"), affineGraph());
    await writeRepository(inApp("encoder"), makeTinyEncoder().contents);
    await writeRepository(inApp("onnx-encoder"), await onnxEncoder());
    writeFileSync(join(folder, "other.gguf"), gguf);
    writeFileSync(join(folder, "broken.gguf"), "what can't be read says nothing either");
    writeFileSync(inApp("notes.txt"), "not a model");
    symlinkSync(join(folder, "other.gguf"), inApp("link.gguf"));
    // A repository whose weights lie elsewhere.
    await writeRepository(inApp("torn"), makeTinyEncoder().contents);
    rmSync(inApp("torn/model.safetensors"));
    writeFileSync(join(folder, "outside.safetensors"), makeTinyEncoder().contents.get("model.safetensors")!);
    symlinkSync(join(folder, "outside.safetensors"), inApp("torn/model.safetensors"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const locate = async (name: string, env: Record<string, string> = {}): Promise<FoundModel | ModelRefusal> => {
    const child = spawnChild(PROGRAM, { output: "ignore", env: { ...process.env, ...env } });
    const question = { name, dataDir: join(folder, "data"), appDir: join(folder, "app") };
    return childReady<LocateModel, FoundModel | ModelRefusal>(child, question);
  };
  const shown = (found: FoundModel | ModelRefusal): unknown =>
    "code" in found ? found : { entry: found.entry, files: found.files.map(({ file }) => file) };

  test("is found in the application folder: a file alone, or all that a folder's model consists of", async () => {
    const names = ["./own.gguf", inApp("own.gguf"), "./own.onnx", "./encoder", "./onnx-encoder"];
    const [relative, absolute, graph, encoder, onnx] = await Promise.all(names.map((name) => locate(name)));
    const path = inApp("own.gguf");
    const file = { file: "own.gguf", bytes: gguf.length, sha256: null, path, modifiedMs: expect.any(Number) };
    expect(relative).toEqual({ entry: "own.gguf", files: [file] });
    expect(absolute).toEqual(relative);
    expect(shown(graph!)).toEqual({ entry: "own.onnx", files: ["own.onnx"] });
    const small = [
      "config.json",
      "tokenizer.json",
      "modules.json",
      "sentence_bert_config.json",
      "1_Pooling/config.json",
    ];
    expect(shown(encoder!)).toEqual({ entry: null, files: [...small, "model.safetensors"] });
    expect(onnx).toMatchObject({ entry: "onnx/model.onnx" });
    expect((onnx as FoundModel).files.map((one) => one.file)).toContain("onnx/weights.bin");
  });

  test("is not found elsewhere, through links, or when it is no model: the same words for all", async () => {
    const names = [
      join(folder, "other.gguf"),
      "../other.gguf",
      "../broken.gguf",
      "./link.gguf",
      "./torn",
      "./notes.txt",
      "/etc/passwd",
      "./gone.gguf",
    ];
    const answers = await Promise.all(names.map((name) => locate(name)));
    expect(answers).toEqual(
      names.map((name) => ({
        code: "NOT_FOUND",
        message: `the mesh has no model ${name} for tabs: a path must lie in the coordinator's folder of applications (--app-dir)`,
      })),
    );
    expect(await locate("unknown")).toMatchObject({ code: "NOT_FOUND", message: expect.stringContaining("unknown") });
  });

  test("comes from a hub, with the hashes that the hub gave, and is there the next time", async () => {
    await using hub = await startHub(new Map([["tiny.gguf", gguf]]));
    const env = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: join(folder, "no-cache") };
    const found = await locate("hf:someone/model", env);
    expect(found).toMatchObject({ entry: "tiny.gguf", files: [{ bytes: gguf.length, sha256: sha256(gguf) }] });
    expect(await locate("hf:someone/model", { ...env, HF_HUB_OFFLINE: "1" })).toEqual(found);
    expect(hub.asked.length).toBeGreaterThan(0);
  });

  test("by URL is for the coordinator's own list of hosts to allow; what can't be run is refused with the reason", async () => {
    const url = `https://models.example/x.gguf#sha256=${"ab".repeat(32)}`;
    expect(await locate(url)).toMatchObject({
      code: "PERMISSION_DENIED",
      message: expect.stringContaining("SKEIN_MODEL_HOSTS"),
    });
    const config = JSON.stringify({ architectures: ["MixtralForCausalLM"] });
    await writeRepository(inApp("mixture"), new Map([["config.json", Buffer.from(config)]]));
    writeFileSync(inApp("mixture/model.safetensors"), Buffer.alloc(64));
    expect(await locate("./mixture")).toMatchObject({
      code: "UNIMPLEMENTED",
      message: expect.stringContaining("MixtralForCausalLM"),
    });
  });
});
