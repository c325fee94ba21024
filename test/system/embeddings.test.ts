/** The real encoder, fetched as the product fetches it, against what sentence-transformers gives (see the note in the fixture). */
import { expect, test } from "vitest";
import { loadEmbedder } from "../../engine/node/load-embedder.ts";
import fixture from "../fixtures/minilm-sentences.json" with { type: "json" };
import { encoderModelPath } from "../support/default-model.ts";

// The runtime reads the process's environment when it loads; test processes are ours to set.
process.env["ORT_DISABLE_TELEMETRY"] = "1";

const WIDTH = 384;
const { sentences } = fixture;
const values = new Float32Array(Uint8Array.from(Buffer.from(fixture.vectors, "base64")).buffer);
const expected = sentences.map((_, i) => values.subarray(i * WIDTH, (i + 1) * WIDTH));
const cosine = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/** How like one of them each sentence is. */
const likeness = (vectors: readonly Float32Array[], of: number): number[] =>
  vectors.map((vector) => cosine(vector, vectors[of]!));

test.each(["native", "wasm"] as const)("%s: 50 sentences", { timeout: 600_000 }, async (provider) => {
  const { embedder, release } = await loadEmbedder(await encoderModelPath(), { provider, threads: 2 });
  try {
    const vectors = await embedder.embed(sentences);
    expect(vectors).toHaveLength(50);
    const closest = Math.min(...vectors.map((vector, i) => cosine(vector, expected[i]!)));
    console.log(`${provider}: the least cosine with sentence-transformers' vectors is ${closest}`);
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
  } finally {
    await release();
  }
});
