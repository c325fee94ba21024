/**
 * A browser worker without a person: starts a headless Chrome or Chromium, which opens the mesh's worker page. Started by the command like the agent
 * in Node, with the same options, answers and ways to be stopped. The browser's end is this program's end; its own end is the browser's (by their pipe).
 */
import { join } from "node:path";
import puppeteer, { type Browser, type Page } from "puppeteer";
import { readAddress } from "../../protocol/address.ts";
import { isErrorCode, OUTSIDE, SkeinError } from "../../protocol/errors.ts";
import type { AgentOptions, AgentReady, Failed, Ready } from "../../protocol/local.ts";
import { startedByParent, tellAlive, tellParent } from "../../protocol/node/parent.ts";
import { chromeFlags, findChrome } from "../node/chrome.ts";
import { meshOrigin } from "../node/control-socket.ts";
import { hostIdOf, takeHome } from "../node/identity.ts";
import { FIRST_JOIN_TIMEOUT_MS, PAGE_TIMEOUT_MS, TAB_CLOSE_MS } from "../node/limits.ts";
import type { FromAgent, TabIdentity } from "./tab.ts";
import { joinFragment } from "./join-link.ts";

function fail(thrown: unknown): void {
  const error = SkeinError.from(thrown);
  const message: Failed = { type: "failed", exit: OUTSIDE[error.code].exit, message: error.message };
  if (process.connected) process.send?.(message, undefined, {}, () => process.exit(message.exit));
  else process.exit(message.exit);
}

async function run(options: AgentOptions): Promise<void> {
  const origins = options.meshUrls.map(meshOrigin);
  if (options.device === "native")
    throw new SkeinError(
      "INVALID_ARGUMENT",
      "A browser has no native provider: --device is auto, webgpu or wasm there.",
    );
  // Beside the folders of Node workers: an identity is of one kind of worker for ever.
  const home = takeHome(join(options.dataDir, "browser"), origins.join(" "), Date.now());
  const hostId = options.hostId ?? hostIdOf(options.dataDir);
  const identity: TabIdentity = { workerId: home.workerId, hostId, incarnation: home.incarnation, ticket: home.ticket };
  const isRoot = process.getuid?.() === 0;
  const executablePath = findChrome(process.env);
  if (isRoot) console.error("worker: as root the browser runs without its sandbox.");
  const browser = await puppeteer.launch({
    executablePath,
    headless: true,
    // When this process dies, however, the pipe breaks and the browser ends.
    pipe: true,
    args: chromeFlags({
      allowSoftwareGpu: options.allowSoftwareGpu,
      isRoot,
      fingerprints: origins.flatMap((origin) => readAddress(origin).fingerprint ?? []),
    }),
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
    timeout: PAGE_TIMEOUT_MS,
    protocolTimeout: PAGE_TIMEOUT_MS,
  });
  console.error(`worker: ${await browser.version()} (${executablePath}) as pid ${browser.process()?.pid}`);

  let stopping = false;
  let joined = false;
  let down = "no answer";
  const end = async (code: number): Promise<void> => {
    stopping = true;
    await closeBrowser(browser);
    process.exit(code);
  };
  const failed = async (error: unknown): Promise<void> => {
    stopping = true;
    await closeBrowser(browser);
    fail(error);
  };
  const receive = (message: FromAgent): void => {
    switch (message.type) {
      case "joined": {
        const { capabilities } = message;
        if (!joined)
          tellParent({ type: "ready", result: { workerId: home.workerId, capabilities } } satisfies Ready<AgentReady>);
        joined = true;
        return;
      }
      case "ticket":
        return home.keepTicket(message.ticket);
      case "down":
        if (message.reason !== down && joined && !stopping)
          console.error(`worker: the coordinator can't be reached (${message.reason}); trying again.`);
        down = message.reason;
        return;
      case "refused":
        return void failed(
          new SkeinError(isErrorCode(message.code) ? message.code : "PERMISSION_DENIED", message.message),
        );
      case "left":
        if (!stopping) void end(0);
        return;
      case "replicas":
        return;
    }
  };

  const page = (await browser.pages())[0] ?? (await browser.newPage());
  watch(page, (why) => {
    if (stopping) return;
    console.error(`worker: ${why}`);
    void end(1);
  });
  browser.on("disconnected", () => {
    if (stopping) return;
    console.error("worker: the browser has ended.");
    process.exit(1);
  });
  const stop = (): void => {
    if (stopping) {
      browser.process()?.kill("SIGKILL");
      process.exit(1);
    }
    stopping = true;
    void page.evaluate("globalThis.skeinLeave?.('The worker was stopped.')").then(
      () => end(0),
      () => end(0),
    );
  };
  process.on("SIGTERM", stop);
  process.on("message", (message: { readonly type?: string }) => {
    if (message.type === "stop") stop();
  });

  await page.exposeFunction("skeinLauncher", receive);
  // As after a reload: the page finds out who it is in its session's storage.
  await page.evaluateOnNewDocument(
    (stored) => sessionStorage.setItem("skein.identity", stored),
    JSON.stringify(identity),
  );
  await openPage(
    page,
    origins.map((origin) => readAddress(origin).url),
    joinFragment(options),
  );
  setTimeout(() => {
    if (!joined && !stopping)
      void failed(new SkeinError("UNAVAILABLE", `The page at ${page.url()} did not join (${down}).`));
  }, FIRST_JOIN_TIMEOUT_MS * 4).unref();
}

/** The first mesh URL that answers. */
async function openPage(page: Page, origins: readonly string[], fragment: string): Promise<void> {
  let last: unknown;
  for (const origin of origins) {
    try {
      const answer = await page.goto(`${origin}/join${fragment}`, { timeout: FIRST_JOIN_TIMEOUT_MS });
      if (answer?.ok() === true) return;
      last = new Error(`it answered ${answer?.status()}`);
    } catch (thrown) {
      // The address has the token in it: never shown.
      last = new Error((thrown instanceof Error ? thrown.message : String(thrown)).split(" at ")[0]);
    }
  }
  throw new SkeinError(
    "UNAVAILABLE",
    `No worker page at ${origins.join(" or ")} (${last instanceof Error ? last.message : ""}). Is the mesh running, and is this its mesh port?`,
  );
}

function watch(page: Page, onEnd: (why: string) => void): void {
  page.on("console", (message) => console.error(`page: ${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => console.error(`page: ${error instanceof Error ? error.message : String(error)}`));
  page.on("error", (error) => onEnd(`the tab has crashed (${error.message}).`));
  page.on("close", () => onEnd("the tab was closed."));
}

/** In good order, or else by its id. */
async function closeBrowser(browser: Browser): Promise<void> {
  const child = browser.process();
  const timer = setTimeout(() => child?.kill("SIGKILL"), TAB_CLOSE_MS);
  await browser.close().catch(() => child?.kill("SIGKILL"));
  clearTimeout(timer);
}

try {
  const options = await startedByParent<AgentOptions>();
  tellAlive();
  await run(options);
} catch (thrown) {
  fail(thrown);
}
