/** The quick start as a newcomer meets it: real processes, the real model, an answer; then nothing is left of it. */
import { execFile, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { dataDirectory } from "../../worker/node/data-directory.ts";
import { defaultModelPath } from "../support/default-model.ts";

const CLIENT = fileURLToPath(new URL("../../examples/client-chat.ts", import.meta.url));
const skein = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
/** A machine that builds, converts and serves on two busy cores. */
const PATIENCE_MS = 240_000;

interface Up {
  readonly operatorsUrl: string;
  readonly meshUrl: string;
  readonly urls: { readonly default: string };
}

const cleanup: (() => void)[] = [];
afterEach(() => cleanup.splice(0).forEach((undo) => undo()));

/** A data directory of its own, but for the model files that are in this user's cache. */
async function dataDir(): Promise<string> {
  await defaultModelPath();
  const folder = mkdtempSync(join(tmpdir(), "skein-quickstart-"));
  cleanup.push(() => rmSync(folder, { recursive: true, force: true }));
  for (const shared of ["models", "prepared"]) {
    mkdirSync(join(dataDirectory(process.env), shared), { recursive: true });
    symlinkSync(join(dataDirectory(process.env), shared), join(folder, shared));
  }
  return folder;
}

function start(
  folder: string,
  more: readonly string[] = [],
): { child: ChildProcess; up: Promise<Up>; said: () => string; exited: Promise<number | string | null> } {
  const args = [
    skein,
    "quickstart",
    "--data-dir",
    folder,
    "--dashboard-port",
    "0",
    "--mesh-port",
    "0",
    "--http-port",
    "0",
    "--json-ready",
    ...more,
  ];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  cleanup.push(() => child.kill("SIGKILL"));
  let said = "";
  child.stderr.on("data", (bytes: Buffer) => (said += bytes.toString("utf8")));
  const exited = new Promise<number | string | null>((resolve) =>
    child.once("exit", (code, signal) => resolve(code ?? signal)),
  );
  const up = new Promise<Up>((resolve, reject) => {
    createInterface({ input: child.stdout }).once("line", (line) => resolve(JSON.parse(line) as Up));
    void exited.then((how) => reject(new Error(`The quick start ended (${how}):\n${said}`)));
  });
  up.catch(() => {});
  return { child, up, said: () => said, exited };
}

/** Every process below `pid`, by /proc. */
function below(pid: number): number[] {
  const parents = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        return [[Number(name), Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, "utf8"))?.[1])] as const];
      } catch {
        return [];
      }
    });
  const found = [pid];
  for (const parent of found) found.push(...parents.filter(([, p]) => p === parent).map(([child]) => child));
  return found.slice(1);
}

const runs = (pid: number): boolean => {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};

const listens = (url: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    socket.once("connect", () => (socket.destroy(), resolve(true))).once("error", () => resolve(false));
  });

async function expectNothingLeft(pids: readonly number[], up: Up): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (pids.some(runs) && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50));
  expect(pids.filter(runs)).toEqual([]);
  for (const url of [up.operatorsUrl, up.meshUrl, up.urls.default])
    expect({ url, listens: await listens(url) }).toEqual({ url, listens: false });
}

const loopback = (url: string): string => url.replace("//localhost:", "//127.0.0.1:");

/** The machine's own Node, which may be as old as 18: the quick start's client is run by it. */
function ownNode(): string {
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => !folder.includes("node_modules"));
  const found = folders.map((folder) => join(folder, "node")).find(existsSync);
  if (found === undefined) throw new Error("no node on the path");
  return found;
}

test("answers with the real model; Ctrl-C, while it answers, leaves nothing", { timeout: PATIENCE_MS }, async () => {
  const { child, up, said, exited } = start(await dataDir());
  const mesh = await up;
  const pids = below(child.pid ?? 0);
  // coordinator, agent, ingress, replica
  expect(pids.length).toBeGreaterThanOrEqual(4);
  expect(said()).toContain("Deploying");

  const { stdout } = await promisify(execFile)(ownNode(), [CLIENT, "Say hi.", loopback(mesh.urls.default)]);
  expect(stdout.trim()).not.toBe("");

  const ask = (): Promise<Response> =>
    fetch(loopback(mesh.urls.default), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '"Could you explain what is dask?"',
    });
  const answer = await ask();
  expect(answer.status).toBe(200);
  expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
  const reader = answer.body?.getReader();
  const first = await reader?.read();
  expect(new TextDecoder().decode(first?.value).length).toBeGreaterThan(0);

  child.kill("SIGINT");
  await reader?.cancel().catch(() => {});
  expect(await exited).toBe(130);
  await expectNothingLeft(pids, mesh);
});

test("kill -9 of the command takes everything with it", { timeout: PATIENCE_MS }, async () => {
  const { child, up } = start(await dataDir());
  const mesh = await up;
  const pids = below(child.pid ?? 0);
  expect(pids.length).toBeGreaterThanOrEqual(4);
  child.kill("SIGKILL");
  await expectNothingLeft(pids, mesh);
});

test("Ctrl-C while it starts leaves nothing", { timeout: PATIENCE_MS }, async () => {
  const { child, said, exited } = start(await dataDir());
  while (!said().includes("Building")) await new Promise((resolve) => setTimeout(resolve, 20));
  await new Promise((resolve) => setTimeout(resolve, 700));
  const pids = below(child.pid ?? 0);
  child.kill("SIGINT");
  expect(await exited).toBe(130);
  const deadline = performance.now() + 30_000;
  while (pids.some(runs) && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50));
  expect(pids.filter(runs)).toEqual([]);
});

test("a full disk is said in one sentence, with what to do, and exit 1", { timeout: PATIENCE_MS }, async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "skein-full-"));
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=40m", "tmpfs", folder]);
  if (mounted.status !== 0) return context.skip(`no small disk can be mounted here: ${String(mounted.stderr).trim()}`);
  cleanup.push(() => {
    spawnSync("umount", ["-l", folder]);
    rmSync(folder, { recursive: true, force: true });
  });
  const { exited, said } = start(folder);
  expect(await exited).toBe(1);
  const full = `the disk of ${join(folder, "models", "partial")} is full: free some space, or set SKEIN_DATA_DIR`;
  expect(said().trimEnd().split("\n").at(-1)).toBe(
    `The model "smollm2-135m-instruct" could not be loaded on default#LLM: ${full}`,
  );
});

test("a busy port is one sentence and exit 1, and nothing was started", { timeout: PATIENCE_MS }, async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const { exited, said } = start(await dataDir(), ["--http-port", String(port)]);
  expect(await exited).toBe(1);
  expect(said()).toBe(
    `Port ${port} on 127.0.0.1 is in use, and it is wanted for HTTP clients: stop the program that has it, or choose another port with --http-port (or http_options.port).\n`,
  );
  server.close();
});
