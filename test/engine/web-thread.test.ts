import { copyFileSync, createReadStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import puppeteer, { type Browser } from "puppeteer";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GenerateRequest } from "../../engine/index.ts";
import { EngineLoop } from "../../engine/loop.ts";
import { createReferenceRunner } from "../../engine/reference/decoder.ts";
import { GREEDY } from "../../engine/sampling.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import { browserKitProblem, chromiumArgs, chromiumEnv, chromiumExecutable } from "../support/browser-kit.ts";
import { tinyGrammars } from "../support/tiny-grammars.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";
import type { WebRun } from "../support/web-engine-page.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const ORT = dirname(fileURLToPath(import.meta.resolve("onnxruntime-web/ort-wasm-simd-threaded.mjs")));
const PAGE = `<!doctype html><script type="module" src="/page.js"></script>`;
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
  let folder: string;
  let server: Server;
  let browser: Browser;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "skein-web-engine-"));
    await build({
      entryPoints: {
        engine: join(ROOT, "engine/thread-web-main.ts"),
        "grammar-check": join(ROOT, "engine/grammar-check-web-main.ts"),
        page: join(ROOT, "test/support/web-engine-page.ts"),
      },
      bundle: true,
      format: "esm",
      platform: "browser",
      // ONNX Runtime's own option: its glue code is fetched from `ort/` instead of being bundled.
      conditions: ["onnxruntime-web-use-extern-wasm"],
      external: ["onnxruntime-web/ort-wasm-simd-threaded.mjs"],
      outdir: folder,
    });
    copyFileSync(fileURLToPath(import.meta.resolve("@mlc-ai/web-xgrammar")), join(folder, "xgrammar.js"));
    server = createServer(({ url = "/" }, response) => {
      response.setHeader("cross-origin-opener-policy", "same-origin");
      response.setHeader("cross-origin-embedder-policy", "require-corp");
      // What the worker page has: nothing may be made from strings of code.
      response.setHeader(
        "content-security-policy",
        "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self'",
      );
      if (url === "/") return response.setHeader("content-type", "text/html").end(PAGE);
      const path = url.startsWith("/ort/") ? join(ORT, basename(url)) : join(folder, basename(url));
      response.setHeader("content-type", url.endsWith(".wasm") ? "application/wasm" : "text/javascript");
      createReadStream(path)
        .on("error", () => response.writeHead(404).end())
        .pipe(response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    browser = await puppeteer.launch({
      executablePath: await chromiumExecutable(),
      args: chromiumArgs(),
      env: await chromiumEnv(),
      headless: true,
      protocolTimeout: 300_000,
    });
  }, 120_000);
  afterAll(async () => {
    await browser?.close();
    server?.close();
    await rm(folder, { recursive: true, force: true });
  });

  test.each(["wasm", "webgpu"])("%s gives the oracle's tokens, and cancels", { timeout: 300_000 }, async (provider) => {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    while ((await page.evaluate("typeof run")) !== "function") await new Promise((resolve) => setTimeout(resolve, 50));
    const result = (await page.evaluate(`run(${JSON.stringify(provider)}, ${JSON.stringify(REQUESTS)})`)) as WebRun;
    await page.close();
    expect(errors).toEqual([]);
    expect(result).toMatchObject({ provider, providers: ["webgpu", "wasm"], cancelled: "cancelled" });
    expect(result.answers).toEqual(await oracle());
  });
});
