/** How a browser becomes a worker: a person opens the join link, or the command opens it in a browser without a window. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import puppeteer, { type Browser, type Page } from "puppeteer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { WorkerDetails } from "../../protocol/status.ts";
import { browserKitProblem, chromiumEnv, chromiumExecutable, chromiumOptions } from "../support/browser-kit.ts";
import { eventually, processesOf, SystemMesh } from "./mesh.ts";

const COMMAND = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));

const problem = browserKitProblem();
describe.skipIf(problem)(`a browser${problem ? ` (skipped: ${problem})` : ""}`, () => {
  let mesh: SystemMesh;
  let browser: Browser;
  beforeAll(async () => {
    mesh = await SystemMesh.start({ workers: 0 });
    browser = await puppeteer.launch({ ...(await chromiumOptions()), pipe: true });
  });
  afterAll(async () => {
    await browser?.close();
    await mesh?.stop();
  });

  const link = async (uses: number): Promise<{ link: string; token: string }> =>
    JSON.parse((await mesh.api("POST", "/api/skein/join-tokens", { max_uses: uses })).text) as {
      link: string;
      token: string;
    };
  const workers = async (): Promise<WorkerDetails[]> =>
    (await mesh.status()).skein.workers.filter((worker) => worker.status === "ALIVE");
  const says = async (page: Page, text: RegExp): Promise<void> =>
    eventually(
      async () => text.test(await page.$eval("#state", (state) => state.textContent)),
      `the page says ${text}`,
    );

  it("joins by its link, keeps the token out of its address, is the same worker after a reload, and leaves by its button", async () => {
    const page = await browser.newPage();
    const said: string[] = [];
    page.on("console", (message) => said.push(message.text()));
    page.on("pageerror", (error) => said.push(String(error)));
    const { link: url, token } = await link(1);
    const answer = await page.goto(url);
    await says(page, /^Joined$/);
    expect(page.url()).not.toContain(token);
    expect(await page.evaluate("history.length")).toBeLessThanOrEqual(2);
    const [worker] = await workers();
    expect(worker).toMatchObject({ kind: "browser" });

    // By its ticket: the token has been used up.
    await page.reload();
    await says(page, /^Joined$/);
    await eventually(async () => (await workers()).length === 1, "one worker is alive");
    expect((await workers())[0]?.worker_id).toBe(worker?.worker_id);

    expect(answer?.headers()).toMatchObject({ "cache-control": "no-cache", "referrer-policy": "no-referrer" });
    expect(answer?.headers()["content-security-policy"]).toMatch(/frame-ancestors 'none'/);
    expect(await page.evaluate("crossOriginIsolated")).toBe(true);
    const foreign =
      "const s = document.createElement('script'); s.textContent = 'globalThis.foreign = 1'; document.head.append(s); globalThis.foreign";
    expect(await page.evaluate(foreign)).toBeUndefined();
    const script = await page.$eval("script", (element) => element.src);
    expect((await fetch(script)).headers.get("cache-control")).toContain("immutable");

    await page.click("#leave");
    await says(page, /^Left the mesh/);
    await eventually(async () => (await workers()).length === 0, "the worker has left");
    expect(said.filter((line) => !line.includes("Content Security Policy"))).toEqual([]);
    await page.close();
  });

  it("is a worker of its own in a copied tab, and none with a token that isn't good", async () => {
    const page = await browser.newPage();
    await page.goto((await link(2)).link);
    await says(page, /^Joined$/);
    const opened = new Promise<Page | null>((resolve) => page.once("popup", resolve));
    await page.evaluate("void window.open(location.href)");
    const copy = (await opened)!;
    await says(copy, /^Joined$/);
    await eventually(
      async () => new Set((await workers()).map((worker) => worker.worker_id)).size === 2,
      "two workers are there",
    );
    await copy.close();
    await page.close();
    await eventually(async () => (await workers()).length === 0, "both are gone");

    const stranger = await browser.newPage();
    await stranger.goto(`${mesh.coordinator.ready.meshUrl}/join#token=guess`);
    await says(stranger, /has refused this tab/);
    await stranger.goto("about:blank");
    const empty = await browser.newPage();
    await empty.goto(`${mesh.coordinator.ready.meshUrl}/join`);
    await says(empty, /no join token/);
    expect(await workers()).toEqual([]);
    await Promise.all([stranger.close(), empty.close()]);
  });

  it("is started without a window by `skein worker join --browser`, which takes it away again", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skein-join-"));
    const { token } = await link(1);
    const env = {
      ...(await chromiumEnv()),
      SKEIN_CHROME: await chromiumExecutable(),
      SKEIN_DATA_DIR: folder,
      SKEIN_JOIN_TOKEN: token,
    };
    const child = spawn(
      process.execPath,
      [COMMAND, "worker", "join", mesh.coordinator.ready.meshUrl, "--browser", "--json-ready"],
      { env, stdio: ["ignore", "pipe", "inherit"] },
    );
    const exit = new Promise<number | null>((resolve) => child.on("exit", resolve));
    const line = await new Promise<string>((resolve) => createInterface({ input: child.stdout }).once("line", resolve));
    const ready = JSON.parse(line) as { workerId: string; capabilities: object };
    // Without --allow-software-gpu SwiftShader is no GPU.
    expect(ready.capabilities).toMatchObject({ kind: "browser", gpus: 0, adapter: null, providers: ["wasm"] });
    expect((await workers()).map((worker) => worker.worker_id)).toEqual([ready.workerId]);
    child.kill("SIGINT");
    expect(await exit).toBe(130);
    await eventually(async () => (await workers()).length === 0, "the worker has left");
    await eventually(() => processesOf(folder).size === 0, "no process is left");
    const log = readFileSync(join(folder, "logs", "browser-worker.log"), "utf8");
    expect(log).toContain("Chrome");
    expect(log).not.toContain(token);
    rmSync(folder, { recursive: true, force: true });
  });
});
