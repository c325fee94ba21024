/** A mesh of its own for a bench, started as a user starts it: `skein run` in a process, from compiled programs. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const COMMAND = fileURLToPath(new URL("../cli/compiled.mjs", import.meta.url));
const APPS = fileURLToPath(new URL("apps/", import.meta.url));
const FIRST_200_WITHIN_MS = 60_000;

export interface Ready {
  readonly operatorsUrl: string;
  readonly adminTokenFile: string;
  readonly urls: Readonly<Record<string, string>>;
}

export interface Skein {
  readonly ready: Ready;
  /** From the start of the command to the first 200, s. */
  readonly startS: number;
  /** Sums over all processes, MiB: resident (pages that processes share count in each), and proportional (they count once). */
  memory(): { processes: number; rss: number; pss: number };
  api(method: string, path: string, body?: unknown): Promise<unknown>;
  stop(): Promise<void>;
}

/** `target`: `module:export` in bench/apps, or a configuration. `dataDir`: kept for another start. `probe`: a path that answers 200. */
export async function startSkein(target: string | object, dataDir: string, probe = "/"): Promise<Skein> {
  const began = performance.now();
  let argument = target;
  if (typeof argument !== "string") {
    argument = join(dataDir, "bench.yaml");
    // JSON is YAML.
    writeFileSync(argument, JSON.stringify(target));
  }
  const child = spawn(
    process.execPath,
    [
      COMMAND,
      "run",
      argument,
      "--app-dir",
      APPS,
      "--dashboard-port",
      "0",
      "--mesh-port",
      "0",
      ...(typeof target === "string" ? ["--http-port", "0"] : []),
      "--json-ready",
    ],
    {
      cwd: APPS,
      env: { ...process.env, SKEIN_DATA_DIR: dataDir },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors = (errors + text).slice(-4_000)));
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const ready = await new Promise<Ready>((resolve, reject) => {
    let out = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      if (out.includes("\n")) resolve(JSON.parse(out) as Ready);
    });
    void ended.then(() => reject(new Error(`skein run ended: ${errors}`)));
  });
  const first = new URL(probe, Object.values(ready.urls)[0]!.replace("localhost", "127.0.0.1"));
  while ((await fetch(first)).status !== 200)
    if (performance.now() - began > FIRST_200_WITHIN_MS) throw new Error("No 200 came.");
  const startS = (performance.now() - began) / 1000;
  return {
    ready,
    startS,
    memory: () => memoryOf(familyOf(child.pid!)),
    api: async (method, path, body) => {
      const token = readFileSync(ready.adminTokenFile, "utf8").trim();
      const answer = await fetch(new URL(path, ready.operatorsUrl), {
        method,
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      if (!answer.ok) throw new Error(`${method} ${path} was answered ${answer.status}: ${await answer.text()}`);
      return method === "GET" ? answer.json() : null;
    },
    stop: async () => {
      child.kill("SIGINT");
      await ended;
    },
  };
}

/** A data directory for meshes that start one after the other. */
export function benchFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), "skein-bench-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }) };
}

/** A process and all that it has started. Linux only, as the bench is. */
function familyOf(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    const parent = /^\d+ \(.*\) \S (\d+)/s.exec(procFile(Number(name), "stat"))?.[1];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const family = [pid];
  for (const member of family) for (const [child, parent] of parents) if (parent === member) family.push(child);
  return family;
}

function memoryOf(pids: readonly number[]): { processes: number; rss: number; pss: number } {
  const sum = (key: string): number =>
    pids.reduce(
      (total, pid) =>
        total + Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(procFile(pid, "smaps_rollup"))?.[1] ?? 0),
      0,
    ) / 1024;
  return { processes: pids.length, rss: sum("Rss"), pss: sum("Pss") };
}

function procFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  } catch {
    return "";
  }
}
