import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GenerateRequest } from "../../engine/index.ts";
import { EngineLoop } from "../../engine/loop.ts";
import { createReferenceRunner } from "../../engine/reference/decoder.ts";
import { referenceEmbedding } from "../../engine/reference/encoder.ts";
import { GREEDY } from "../../engine/sampling.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import { browserKitProblem } from "../support/browser-kit.ts";
import { tinyGrammars } from "../support/tiny-grammars.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";
import { makeTinyEncoder, TINY_ENCODER } from "../support/tiny-encoder.ts";
import { onnxEncoder } from "../support/tiny-onnx.ts";
import { WebEngine } from "../support/web-engine.ts";
import type { WebRun } from "../support/web-engine-page.ts";

const PROMPTS = ["The river", "a stone and a bird ".repeat(8), "Could you explain what is dask?"];
const GRAMMAR = {
  type: "json_schema",
  json_schema: { type: "array", items: { type: "boolean" }, minItems: 2 },
} as const;
/** The first prompt's answer is drawn, the last one's held to the grammar. */
const REQUESTS: readonly GenerateRequest[] = PROMPTS.map((prompt, at) => ({
  prompt,
  maxTokens: 12,
  ...(at === 0 ? { sampling: { temperature: 0.8, topP: 0.9, seed: 5 } } : {}),
  ...(at === 2 ? { grammar: GRAMMAR } : {}),
}));

async function oracle(): Promise<number[][]> {
  const { config, weights, tokenizerMetadata } = makeTinyGguf();
  const tokenizer = Tokenizer.fromGguf(tokenizerMetadata);
  const loop = new EngineLoop({
    runner: createReferenceRunner(config, weights, { slots: 3, slotLength: 448 }),
    text: tokenizer,
    yieldTurn: () => Promise.resolve(),
    now: () => performance.now(),
  });
  const answers = PROMPTS.map((): number[] => []);
  const grammars = tinyGrammars();
  const mask = await grammars.mask(GRAMMAR);
  grammars.close();
  PROMPTS.forEach((prompt, id) =>
    loop.submit(
      id,
      {
        promptTokens: tokenizer.encode(prompt),
        sampling: { ...GREEDY, ...REQUESTS[id]!.sampling },
        maxTokens: 12,
        stop: [],
      },
      {
        onOutput: ({ tokens }) => answers[id]!.push(...tokens),
        onError: (error) => {
          throw error;
        },
      },
      id === 2 ? mask : undefined,
    ),
  );
  await loop.idle();
  return answers;
}

const problem = browserKitProblem();
describe.skipIf(problem)(`the engine in a tab's worker${problem ? ` (skipped: ${problem})` : ""}`, () => {
  let engine: WebEngine;
  beforeAll(async () => void (engine = await WebEngine.start()), 300_000);
  afterAll(() => engine?.stop());

  test.each(["wasm", "webgpu"])("%s gives the oracle's tokens, and cancels", { timeout: 300_000 }, async (provider) => {
    const result = await engine.inPage<WebRun>(`run(${JSON.stringify(provider)}, ${JSON.stringify(REQUESTS)})`);
    expect(result).toMatchObject({ provider, providers: ["webgpu", "wasm"], cancelled: "cancelled" });
    expect(result.answers).toEqual(await oracle());
  });

  test("an encoder with its tensors beside an ONNX file (on WebGPU: test/long)", { timeout: 300_000 }, async () => {
    const { weights } = makeTinyEncoder();
    const { loaded, rows } = await engine.runGraph("wasm", await onnxEncoder(), "onnx/model.onnx", ["the river"]);
    expect(loaded).toMatchObject({ kind: "graph", provider: "wasm", text: { task: "embedding", maxTokens: 24 } });
    const expected = referenceEmbedding(TINY_ENCODER, weights, [2, 4, 5, 3]);
    expect(Math.max(...rows[0]!.map((value, c) => Math.abs(value - expected[c]!)))).toBeLessThan(1e-5);
  });
});
