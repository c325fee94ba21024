/** The real encoder behind a real ingress, beside a model that answers chats, against what sentence-transformers gives (see the note in the fixture). */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import fixture from "../fixtures/minilm-sentences.json" with { type: "json" };
import { encoderModelPath } from "../support/default-model.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";
import { SystemMesh } from "./mesh.ts";

const WIDTH = 384;
const { sentences } = fixture;
/** OpenAI's API refuses an empty text; what the tokenizer makes of it is taken. */
const inputs = sentences.map((sentence) => (sentence === "" ? [101, 102] : sentence));
const decode = (base64: string): Float32Array =>
  new Float32Array(Uint8Array.from(Buffer.from(base64, "base64")).buffer);
const values = decode(fixture.vectors);
const expected = sentences.map((_, i) => values.subarray(i * WIDTH, (i + 1) * WIDTH));
const cosine = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/** How like one of them each sentence is. */
const likeness = (vectors: readonly Float32Array[], of: number): number[] =>
  vectors.map((vector) => cosine(vector, vectors[of]!));

describe("embeddings", () => {
  let mesh: SystemMesh;
  let folder = "";
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "skein-embeddings-"));
    writeFileSync(join(folder, "tiny.gguf"), makeTinyGguf().bytes);
    mesh = await SystemMesh.start({ appDir: folder, agent: () => ({ device: "auto" }) });
    const settings = { num_gpus: 0, num_cpus: 0.5 };
    const source = await encoderModelPath();
    await mesh.deploy([
      {
        name: "openai",
        import_path: "skein/llm:openai",
        route_prefix: "/",
        args: {
          models: [
            { ...settings, source: join(folder, "tiny.gguf"), slot_length: 400 },
            { ...settings, source, id: "native", device: "native" },
            { ...settings, source, id: "wasm", device: "wasm" },
          ],
        },
      },
    ]);
  });
  afterAll(async () => {
    await mesh?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const post = (path: string, body: object) => mesh.post(path, body);

  test.each(["native", "wasm"])("%s: 50 sentences, in one request and in many at a time", async (model) => {
    const whole = await post("/v1/embeddings", { model, input: inputs, truncate_prompt_tokens: -1 });
    expect(whole.status).toBe(200);
    const vectors = (whole.body.data as { embedding: number[] }[]).map(({ embedding }) => Float32Array.from(embedding));
    expect(vectors).toHaveLength(50);
    const closest = Math.min(...vectors.map((vector, i) => cosine(vector, expected[i]!)));
    console.log(`${model}: the least cosine with sentence-transformers' vectors is ${closest}`);
    expect(closest).toBeGreaterThan(0.9999);
    for (const i of sentences.keys()) {
      const [ours, theirs] = [likeness(vectors, i), likeness(expected, i)];
      const order = [...sentences.keys()].toSorted((a, b) => theirs[b]! - theirs[a]!);
      for (let place = 1; place < order.length; place++) {
        const [before, after] = [order[place - 1]!, order[place]!];
        // Two that are equally like it, to what f32 can tell, have no order.
        if (theirs[before]! - theirs[after]! > 1e-5) expect(ours[before]!).toBeGreaterThan(ours[after]!);
      }
    }
    const alone = await Promise.all(
      inputs
        .slice(0, 16)
        .map((input) =>
          post("/v1/embeddings", { model, input, encoding_format: "base64", truncate_prompt_tokens: -1 }),
        ),
    );
    alone.forEach(({ body }, i) =>
      expect(cosine(decode(body.data[0].embedding), expected[i]!)).toBeGreaterThan(0.9999),
    );
  });

  test("shortened vectors, ids for texts, and what is too long", async () => {
    const input = sentences[0]!;
    const [half, ids] = [
      await post("/v1/embeddings", { model: "native", input, dimensions: 128 }),
      await post("/tokenize", { model: "native", prompt: input }),
    ];
    const head = expected[0]!.slice(0, 128);
    const short = Float32Array.from(half.body.data[0].embedding as number[]);
    expect(cosine(short, head) / Math.hypot(...head)).toBeGreaterThan(0.9999);
    expect(ids.body.max_model_len).toBe(256);
    const same = await post("/v1/embeddings", { model: "native", input: ids.body.tokens });
    expect(cosine(Float32Array.from(same.body.data[0].embedding), expected[0]!)).toBeGreaterThan(0.9999);
    const long = { model: "native", input: ["short", "river ".repeat(300)] };
    expect(await post("/v1/embeddings", long)).toMatchObject({
      status: 400,
      body: {
        error: {
          type: "invalid_request_error",
          param: "input",
          code: "context_length_exceeded",
          message: "Input 1 has 302 tokens; this model takes 256: shorten it or cut it into parts.",
        },
      },
    });
    expect((await post("/v1/embeddings", { ...long, truncate_prompt_tokens: -1 })).body.usage.prompt_tokens).toBe(259);
  });

  test("reranking and scores are the cosines of sentence-transformers' vectors, in their order", async () => {
    const of = 3;
    const documents = sentences.filter((sentence, i) => i !== of && sentence !== "" && sentence.length < 300);
    const theirs = likeness(expected, of);
    const reranked = await post("/v1/rerank", { model: "native", query: sentences[of], documents, top_n: 5 });
    const results = reranked.body.results as { index: number; relevance_score: number; document: { text: string } }[];
    expect(results).toHaveLength(5);
    const best = documents.map((text) => theirs[sentences.indexOf(text)]!).toSorted((a, b) => b - a);
    for (const [place, { index, relevance_score, document }] of results.entries()) {
      expect(document.text).toBe(documents[index]);
      expect(relevance_score).toBeCloseTo(best[place]!, 4);
    }
    const scored = await post("/score", { model: "wasm", text_1: sentences[of], text_2: documents.slice(0, 4) });
    const scores = (scored.body.data as { score: number }[]).map(({ score }) => score);
    scores.forEach((score, i) => expect(score).toBeCloseTo(theirs[sentences.indexOf(documents[i]!)]!, 4));
    expect(scores).toHaveLength(4);
  });

  test("each model says what it doesn't do", async () => {
    const unsupported = (model: string) => ({
      status: 501,
      body: { error: { param: "model", code: "unsupported_model", message: expect.stringContaining(`'${model}'`) } },
    });
    const messages = [{ role: "user", content: "Hi" }];
    expect(await post("/v1/chat/completions", { model: "native", messages })).toMatchObject(unsupported("native"));
    expect(await post("/v1/completions", { model: "native", prompt: "a" })).toMatchObject(unsupported("native"));
    expect(await post("/v1/embeddings", { model: "tiny", input: "a" })).toMatchObject(unsupported("tiny"));
    expect((await post("/v1/chat/completions", { model: "tiny", messages, max_tokens: 2 })).status).toBe(200);
  });
});
