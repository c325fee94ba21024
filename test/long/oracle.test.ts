import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GenerateRequest } from "../../engine/client.ts";
import { EngineLoop } from "../../engine/loop.ts";
import { createReferenceRunner } from "../../engine/reference/decoder.ts";
import { GREEDY } from "../../engine/sampling.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import { browserKitProblem, swiftshaderEnv } from "../support/browser-kit.ts";
import type { ProviderRun } from "../support/provider-tokens-main.ts";
import { makeTinyGguf, type TinyModel } from "../support/tiny-gguf.ts";

const MAIN = fileURLToPath(new URL("../support/provider-tokens-main.ts", import.meta.url));
/** Q8_0 weights mean the same to the GPU's n-bit kernels and to the oracle; on `native` those kernels round activations. */
const MODELS = { F32: makeTinyGguf(), Q8_0: makeTinyGguf({ format: "Q8_0" }) };
const tokenizer = Tokenizer.fromGguf(MODELS.F32.tokenizerMetadata);
const ask = (content: string): { messages: { role: string; content: string }[] } => ({
  messages: [{ role: "user", content }],
});

/** More than slots; prompts on both sides of 32 and beyond one chunk of 256; greedy and seeded. */
const REQUESTS: readonly GenerateRequest[] = [
  { ...ask("Could you explain what is dask?"), maxTokens: 24 },
  { prompt: "The river", maxTokens: 12 },
  { prompt: "a stone and a bird ".repeat(60), maxTokens: 12 },
  { ...ask("Write a short story."), maxTokens: 16, sampling: { temperature: 0.8, topP: 0.9, seed: 5 } },
];

/** What the f32 oracle says, each alone. */
async function expected({ config, weights }: TinyModel, request: GenerateRequest): Promise<number[]> {
  const promptTokens =
    "messages" in request
      ? tokenizer.encodeChat(request.messages)
      : tokenizer.encode("prompt" in request ? request.prompt : "");
  const loop = new EngineLoop({
    runner: createReferenceRunner(config, weights, { slots: 1, slotLength: 448 }),
    text: tokenizer,
    yieldTurn: () => Promise.resolve(),
    now: () => performance.now(),
  });
  const tokens: number[] = [];
  loop.submit(
    1,
    { promptTokens, sampling: { ...GREEDY, ...request.sampling }, maxTokens: request.maxTokens, stop: [] },
    {
      onOutput: (output) => tokens.push(...output.tokens),
      onError: (error) => {
        throw error;
      },
    },
  );
  await loop.idle();
  return tokens;
}

let folder: string;
const oracle = { F32: [] as number[][], Q8_0: [] as number[][] };
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skein-oracle-"));
  for (const format of ["F32", "Q8_0"] as const) {
    await writeFile(join(folder, `${format}.gguf`), MODELS[format].bytes);
    oracle[format] = await Promise.all(REQUESTS.map((request) => expected(MODELS[format], request)));
  }
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function runOn(provider: string, format: keyof typeof MODELS, env: NodeJS.ProcessEnv): Promise<ProviderRun> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [MAIN, join(folder, `${format}.gguf`), join(folder, "cache"), provider, JSON.stringify(REQUESTS)],
    { env, timeout: 240_000 },
  );
  return JSON.parse(stdout) as ProviderRun;
}

describe("tokens equal the f32 oracle's, batched, chunked, behind a real thread", () => {
  test("the oracle's answers differ from each other and are not trivial", () => {
    expect(tokenizer.encode((REQUESTS[2] as { prompt: string }).prompt).length).toBeGreaterThan(256);
    for (const tokens of oracle.F32) expect(new Set(tokens).size).toBeGreaterThan(3);
    expect(new Set(oracle.F32.map((tokens) => tokens.join())).size).toBe(REQUESTS.length);
  });

  test.each(["native", "wasm"])("%s", { timeout: 120_000 }, async (provider) => {
    const run = await runOn(provider, "F32", process.env);
    expect(run).toMatchObject({ provider, notes: [] });
    expect(run.providers).toEqual(expect.arrayContaining(["native", "wasm"]));
    expect(run.answers.map(({ tokens }) => tokens)).toEqual(oracle.F32);
    expect(run.answers.map(({ text }) => text)).toEqual(oracle.F32.map((tokens) => tokenizer.decode(tokens)));
  });

  const problem = browserKitProblem();
  test.skipIf(problem)(
    `webgpu on SwiftShader${problem ? ` (skipped: ${problem})` : ""}`,
    { timeout: 300_000 },
    async () => {
      const run = await runOn("webgpu", "Q8_0", await swiftshaderEnv());
      expect(run.provider).toBe("webgpu");
      expect(run.stages).toContain("self-test (webgpu)");
      expect(run.providers[0]).toBe("webgpu");
      expect(run.answers.map(({ tokens }) => tokens)).toEqual(oracle.Q8_0);
    },
  );
});
