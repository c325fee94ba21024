/** The engine's scripts behind a page in Chromium, under the worker page's policies: scripts of `web-engine-page.ts` run in it. */
import { copyFileSync, createReadStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import puppeteer, { type Browser } from "puppeteer";
import { chromiumOptions } from "./browser-kit.ts";
import type { WebGraphRun } from "./web-engine-page.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const ORT = dirname(fileURLToPath(import.meta.resolve("onnxruntime-web/ort-wasm-simd-threaded.mjs")));
const PAGE = `<!doctype html><script type="module" src="/page.js"></script>`;

export class WebEngine {
  readonly #folder: string;
  readonly #server: Server;
  readonly #browser: Browser;

  private constructor(folder: string, server: Server, browser: Browser) {
    this.#folder = folder;
    this.#server = server;
    this.#browser = browser;
  }

  static async start(): Promise<WebEngine> {
    const folder = await mkdtemp(join(tmpdir(), "skein-web-engine-"));
    await build({
      entryPoints: {
        engine: join(ROOT, "engine/thread-web-main.ts"),
        team: join(ROOT, "engine/team-web-main.ts"),
        "grammar-check": join(ROOT, "engine/grammar-check-web-main.ts"),
        page: join(ROOT, "test/support/web-engine-page.ts"),
      },
      bundle: true,
      format: "esm",
      platform: "browser",
      // ONNX Runtime's own option: its glue code is fetched from `ort/` instead of being bundled.
      conditions: ["onnxruntime-web-use-extern-wasm"],
      outdir: folder,
    });
    copyFileSync(fileURLToPath(import.meta.resolve("@mlc-ai/web-xgrammar")), join(folder, "xgrammar.js"));
    const server = serve(folder);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const browser = await puppeteer.launch({
      ...(await chromiumOptions()),
      protocolTimeout: 300_000,
    });
    return new WebEngine(folder, server, browser);
  }

  /** What a script gives in a new page. Throws the page's errors. */
  async inPage<T>(script: string): Promise<T> {
    const page = await this.#browser.newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.goto(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`);
    while ((await page.evaluate("typeof run")) !== "function") await new Promise((resolve) => setTimeout(resolve, 50));
    const result = (await page.evaluate(script)) as T;
    await page.close();
    if (errors.length > 0) throw new Error(errors.join("; "));
    return result;
  }

  /** A graph by the files of its repository; `input` as of the page's `runGraph`. */
  runGraph(
    provider: string,
    files: ReadonlyMap<string, Uint8Array>,
    entry: string | null,
    input: readonly string[] | readonly (readonly number[])[],
  ): Promise<WebGraphRun> {
    const texts = Object.fromEntries([...files].map(([name, bytes]) => [name, Buffer.from(bytes).toString("base64")]));
    return this.inPage(`runGraph(...${JSON.stringify([provider, texts, entry, input])})`);
  }

  async stop(): Promise<void> {
    await this.#browser.close();
    this.#server.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

function serve(folder: string): Server {
  return createServer(({ url = "/" }, response) => {
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
}
