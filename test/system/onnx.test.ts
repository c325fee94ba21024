/** ONNX models behind a real ingress: the ready-made application in its three tasks, and one in code (examples/onnx.ts). */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { referenceEmbedding } from "../../engine/reference/encoder.ts";
import { makeTinyEncoder, TINY_ENCODER } from "../support/tiny-encoder.ts";
import { affineGraph, onnxClassifier, onnxEncoder, writeRepository } from "../support/tiny-onnx.ts";
import { SystemMesh } from "./mesh.ts";

describe("ONNX models", () => {
  let mesh: SystemMesh;
  let folder = "";
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "skein-onnx-"));
    const graph = join(folder, "affine.onnx");
    writeFileSync(graph, affineGraph());
    const encoder = await writeRepository(join(folder, "encoder"), await onnxEncoder());
    const classifier = await writeRepository(join(folder, "classifier"), onnxClassifier());
    mesh = await SystemMesh.start({
      appDir: fileURLToPath(new URL("../../examples/", import.meta.url)),
      agent: () => ({ device: "native" }),
    });
    const served = (name: string, args: object) => ({
      name,
      import_path: "skein/onnx:app",
      route_prefix: `/${name}`,
      args: { num_cpus: 0.1, num_gpus: 0, ...args },
    });
    await mesh.deploy([
      served("raw", { model: graph, warm_up: [{ x: [2, 3] }] }),
      served("embedding", { model: encoder, task: "embedding" }),
      served("classification", { model: join(classifier, "onnx", "model.onnx") }),
      { name: "code", import_path: "onnx:app", route_prefix: "/code", args: { model: graph } },
      {
        name: "openai",
        import_path: "skein/llm:openai",
        route_prefix: "/openai",
        args: { models: [{ source: encoder, num_cpus: 0.1, num_gpus: 0 }] },
      },
    ]);
  });
  afterAll(async () => {
    await mesh?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const post = (path: string, body: object) => mesh.post(path, body);

  test("raw: lists in, lists out, many at a time, and each mistake in words", async () => {
    expect(JSON.parse((await mesh.fetch("/raw")).text)).toMatchObject({
      task: "raw",
      provider: "native",
      inputs: [{ name: "x", type: "float32", shape: ["batch", 3] }],
      cpu_nodes: [],
    });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, k) => post("/raw", { inputs: { x: [[k, 0, 0]] } })),
    );
    answers.forEach(({ status, body }, k) =>
      expect([status, body]).toEqual([200, { outputs: { y: [[k + 1, 2 * k + 1]], sum: [3 * k + 2] } }]),
    );
    const wrong = { status: 400, body: { error: "x has the shape [1, 2], expected x: float32[batch, 3]." } };
    expect(await post("/raw", { inputs: { x: [[1, 2]] } })).toEqual(wrong);
    expect(await post("/raw", { inputs: {} })).toMatchObject({ status: 400 });
    expect((await mesh.fetch("/raw", { method: "POST", body: "{" })).status).toBe(400);
    expect((await mesh.fetch("/raw", { method: "PUT", body: "{}" })).status).toBe(405);
  });

  test("embedding, here and behind the OpenAI API", async () => {
    const expected = [...referenceEmbedding(TINY_ENCODER, makeTinyEncoder().weights, [2, 4, 5, 3])].map((value) =>
      expect.closeTo(value, 4),
    );
    expect(await post("/embedding", { inputs: "the river" })).toEqual({ status: 200, body: [expected] });
    const [first, second] = (await post("/embedding", { inputs: ["a", [2, 4, 5, 3]] })).body;
    expect([first.length, second]).toEqual([64, expected]);
    const long = { inputs: "the river ".repeat(20) };
    expect(await post("/embedding", long)).toMatchObject({
      status: 400,
      body: { error: expect.stringContaining("input 0 has 42 tokens; this model takes 24") },
    });
    expect((await post("/embedding", { ...long, truncate: true })).status).toBe(200);
    const { data } = (await post("/openai/v1/embeddings", { input: "the river" })).body;
    expect(data[0].embedding).toEqual(expected);
  });

  test("classification, of a graph that was named by its file", async () => {
    const { body } = await post("/classification", { inputs: ["river river", "stone"] });
    expect(body.map((classes: { label: string }[]) => classes[0]!.label)).toEqual(["WET", "DRY"]);
    expect(body[0][0].score).toBeCloseTo(1 / (1 + Math.exp(-2)));
  });

  test("in code of one's own", async () => {
    expect((await post("/code", { x: [[0, 1, 0], [1, 0, 0]] })).body).toEqual({ y: [4, 5, 2, 3], provider: "native" }); // prettier-ignore
  });
});
