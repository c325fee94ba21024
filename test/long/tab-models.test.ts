/**
 * Every kind of model in a browser's tab, through the whole mesh: decoders from a hub and from a folder, encoders, ONNX files. Beside each
 * stands what an engine in Node makes of the same files.
 */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EngineClient } from "../../engine/index.ts";
import { prepareCached } from "../../engine/node/prepared-cache.ts";
import { spawnNodeEngine } from "../../engine/spawn-node.ts";
import fixture from "../fixtures/minilm-sentences.json" with { type: "json" };
import { signed } from "../support/authority.ts";
import { browserKitProblem, chromiumEnv, chromiumExecutable } from "../support/browser-kit.ts";
import { encoderModelPath } from "../support/default-model.ts";
import { startHub } from "../support/fake-hub.ts";
import { makeTinyEncoder } from "../support/tiny-encoder.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";
import { affineGraph, onnxClassifier, onnxEncoder, writeRepository } from "../support/tiny-onnx.ts";
import { makeTinyRepository } from "../support/tiny-repository.ts";
import { eventually, SystemMesh } from "../system/mesh.ts";

const PROMPT = "Once upon a time";
const GGUF = makeTinyGguf().bytes;
const cosine = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, value, i) => sum + value * b[i]!, 0) /
  Math.hypot(...Array.from(a)) /
  Math.hypot(...Array.from(b));

const problem = browserKitProblem();
describe.skipIf(problem)(`a tab${problem ? ` (skipped: ${problem})` : ""}`, () => {
  let mesh: SystemMesh;
  let hub: Awaited<ReturnType<typeof startHub>>;
  let web: Server;
  let host = "";
  let folder = "";
  beforeAll(async () => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), "skein-tab-models-")));
    await writeRepository(join(folder, "decoder"), makeTinyRepository("qwen3", { shards: 2 }).contents);
    // Slots of 400 tokens have the long one of its two lists of factors.
    await writeRepository(join(folder, "phi4"), makeTinyRepository("phi4").contents);
    await writeRepository(join(folder, "encoder"), makeTinyEncoder().contents);
    await writeRepository(join(folder, "onnx-encoder"), await onnxEncoder());
    await writeRepository(join(folder, "classifier"), onnxClassifier());
    writeFileSync(join(folder, "affine.onnx"), affineGraph());
    hub = await startHub(makeTinyRepository("llama").contents);
    const { ca, cert, key } = await signed("localhost");
    writeFileSync(join(folder, "ca.pem"), ca);
    web = createServer({ cert, key }, (request, response) => {
      const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "bytes=0-")!;
      const end = to === "" ? GGUF.length : Math.min(Number(to) + 1, GGUF.length);
      response.writeHead(206, { "content-range": `bytes ${from}-${end - 1}/${GGUF.length}` });
      response.end(GGUF.subarray(Number(from), end));
    });
    await new Promise<void>((listening) => web.listen(0, "127.0.0.1", listening));
    host = `localhost:${(web.address() as AddressInfo).port}`;
    const env = { ...(await chromiumEnv()), SKEIN_CHROME: await chromiumExecutable() };
    mesh = await SystemMesh.start({
      workers: 2,
      appDir: folder,
      coordinatorEnv: {
        HF_ENDPOINT: hub.endpoint,
        HF_HUB_CACHE: join(folder, "no-cache"),
        SKEIN_MODEL_HOSTS: host,
        NODE_EXTRA_CA_CERTS: join(folder, "ca.pem"),
      },
      // The first has the ingress and no room for replicas.
      agent: (index) =>
        index === 0 ? { cpus: 0 } : { program: "worker/browser/launcher-main.ts", env, device: "wasm", cpus: 8 },
    });
  });
  afterAll(async () => {
    await mesh?.stop();
    await hub?.[Symbol.asyncDispose]();
    web?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const post = async (path: string, body: object) => {
    const { status, text } = await mesh.fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (status !== 200) throw new Error(`${path} was answered ${status}: ${text}`);
    return JSON.parse(text);
  };
  const openai = (models: readonly object[]): object => ({
    name: "openai",
    import_path: "skein/llm:openai",
    route_prefix: "/",
    args: { models: models.map((model) => ({ num_cpus: 0.1, num_gpus: 0, ...model })) },
  });
  const onnx = (name: string, model: string): object => ({
    name,
    import_path: "skein/onnx:app",
    route_prefix: `/${name}`,
    args: { model, num_cpus: 0.1, num_gpus: 0 },
  });
  const inNode = async <T>(path: string, work: (engine: EngineClient) => Promise<T>): Promise<T> => {
    const directory = await prepareCached({
      file: path,
      target: "wasm",
      cache: join(folder, "cache"),
      now: Date.now(),
      slotLength: 400,
    });
    const engine = await EngineClient.start({ spawn: () => spawnNodeEngine(), after: () => () => {} });
    const spec = {
      prepared: { wasm: { directory } },
      provider: "wasm",
      threads: 2,
      slots: 1,
      slotLength: 400,
    } as const;
    await engine.open(spec);
    return work(engine).finally(() => engine.close());
  };
  const completed = (path: string): Promise<string> =>
    inNode(path, async (engine) => {
      let text = "";
      for await (const piece of engine.generate({ prompt: PROMPT, maxTokens: 16 })) text += piece.text;
      return text;
    });

  test("runs repositories of a folder and of a hub, and a file by its URL, as Node does", async () => {
    const sha256 = createHash("sha256").update(GGUF).digest("hex");
    await mesh.deploy([
      openai([
        { id: "folder", source: "./decoder", slot_length: 400 },
        { id: "phi4", source: "./phi4", slot_length: 400 },
        { id: "hub", source: "hf:someone/model", slot_length: 400 },
        { id: "url", source: `https://${host}/tiny.gguf#sha256=${sha256}`, slot_length: 400 },
      ]),
    ]);
    const answers = await Promise.all(
      ["folder", "hub", "url", "phi4"].map((model) =>
        post("/v1/completions", { model, prompt: PROMPT, max_tokens: 16, temperature: 0 }),
      ),
    );
    const fetched = await writeRepository(join(folder, "of-hub"), makeTinyRepository("llama").contents);
    expect(answers[0].choices[0].text).toBe(await completed(join(folder, "decoder")));
    expect(answers[1].choices[0].text).toBe(await completed(fetched));
    writeFileSync(join(folder, "of-url.gguf"), GGUF);
    expect(answers[2].choices[0].text).toBe(await completed(join(folder, "of-url.gguf")));
    expect(answers[3].choices[0].text).toBe(await completed(join(folder, "phi4")));
    const replicas = await mesh.replicas();
    expect(new Set(replicas.map((replica) => replica.node_id)).size).toBe(1);
  });

  test("makes the real encoder's vectors, as Node does on wasm", async () => {
    // Fetched already, with all that is known of it.
    const real = await encoderModelPath();
    const repositories = join(mesh.folder, "data", "models", "repositories");
    mkdirSync(repositories, { recursive: true });
    symlinkSync(real, join(repositories, basename(real)));
    await mesh.deploy([openai([{ source: "all-minilm-l6-v2" }])]);
    const input = fixture.sentences.filter((sentence) => sentence !== "");
    const { data } = await post("/v1/embeddings", { input, truncate_prompt_tokens: -1 });
    const { vectors } = await inNode(real, (engine) => engine.embed(input, { truncates: true }));
    const least = Math.min(...vectors.map((vector, i) => cosine(vector, data[i].embedding)));
    console.log(`the least cosine of a tab's vectors with Node's, of ${input.length} texts: ${least}`);
    expect(least).toBeGreaterThan(0.999999);
  });

  test("runs ONNX files and folders", async () => {
    await mesh.deploy([
      onnx("raw", "./affine.onnx"),
      onnx("embedding", "./onnx-encoder"),
      onnx("classes", "./classifier"),
    ]);
    expect(JSON.parse((await mesh.fetch("/raw")).text)).toMatchObject({ provider: "wasm", cpu_nodes: [] });
    expect(await post("/raw", { inputs: { x: [[1, 0, 0]] } })).toEqual({ outputs: { y: [[2, 3]], sum: [5] } });
    const [vector] = await post("/embedding", { inputs: "the river" });
    const { vectors } = await inNode(join(folder, "encoder"), (engine) => engine.embed(["the river"]));
    expect(cosine(vector, vectors[0]!)).toBeGreaterThan(0.99999);
    expect((await post("/classes", { inputs: "river river" }))[0][0].label).toBe("WET");
  });

  test("says why it can't run a model, before it fetches it", async () => {
    const mixture = { architectures: ["MixtralForCausalLM"] };
    await writeRepository(join(folder, "mixture"), new Map([["config.json", Buffer.from(JSON.stringify(mixture))]]));
    writeFileSync(join(folder, "mixture", "model.safetensors"), Buffer.alloc(64));
    await expect(mesh.deploy([onnx("mixture", "./mixture")])).rejects.toThrow(/MixtralForCausalLM/);
    const hash = createHash("sha256").update("x").digest("hex");
    const url = `https://models.example/x.onnx#sha256=${hash}`;
    await expect(mesh.deploy([onnx("url", url)])).rejects.toThrow(/models may not come from models.example/);
    await eventually(async () => (await mesh.replicas()).length <= 1, "no replicas are left to try");
  });
});
