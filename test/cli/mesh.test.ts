/** The parent of a mesh with real processes: what dies comes back, what is stopped ends in order, and nothing outlives the parent. */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";

const parent = fileURLToPath(new URL("mesh-main.ts", import.meta.url));
const cleanup: (() => void)[] = [];
afterEach(() => cleanup.splice(0).forEach((undo) => undo()));

interface Told {
  url?: string;
  pids?: { coordinator: number; worker: number };
  note?: string;
}

async function start(): Promise<{
  child: ChildProcess;
  dataDir: string;
  next: (wanted: (told: Told) => boolean) => Promise<Told>;
  exited: Promise<number | string | null>;
}> {
  const dataDir = mkdtempSync(join(tmpdir(), "skein-mesh-"));
  const child = spawn(process.execPath, [parent, dataDir], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  cleanup.push(() => {
    child.kill("SIGKILL");
    rmSync(dataDir, { recursive: true, force: true });
  });
  const next = async (wanted: (told: Told) => boolean): Promise<Told> => {
    for (;;) {
      const line = await lines.next();
      if (line.done === true) throw new Error("The parent ended.");
      const told = JSON.parse(line.value) as Told;
      if (wanted(told)) return told;
    }
  };
  return {
    child,
    dataDir,
    next,
    exited: new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal))),
  };
}

/** A zombie that nobody has waited for yet doesn't count. */
const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return process.platform !== "linux" || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
};

const until = (condition: () => boolean, what: string): Promise<void> =>
  expect.poll(condition, { message: what }).toBe(true);

/** A program has been started so many times, and listens. */
const starts = (dataDir: string, name: string, times: number): Promise<void> =>
  until(
    () => readFileSync(join(dataDir, "logs", `${name}.log`), "utf8").match(/started/g)?.length === times,
    `${name} started again`,
  );

test("Ctrl-C: the worker ends first, then the coordinator; no process and no record is left", async () => {
  const { child, dataDir, next, exited } = await start();
  const { url, pids } = await next((told) => told.pids !== undefined);
  expect(JSON.parse(readFileSync(join(dataDir, "mesh.json"), "utf8"))).toMatchObject({
    operatorsUrl: url,
    pid: child.pid,
  });
  child.kill("SIGINT");
  expect(await exited).toBe(130);
  expect(Object.values(pids ?? {}).filter(alive)).toEqual([]);
  expect(existsSync(join(dataDir, "mesh.json"))).toBe(false);
  for (const name of ["worker", "coordinator"])
    expect(readFileSync(join(dataDir, "logs", `${name}.log`), "utf8")).toContain("stopped in order");
});

test("kill -9 of the parent takes both with it", async () => {
  const { child, next } = await start();
  const { pids } = await next((told) => told.pids !== undefined);
  child.kill("SIGKILL");
  await until(() => Object.values(pids ?? {}).every((pid) => !alive(pid)), "both children gone");
});

test("what hangs is killed and started again, the coordinator on its ports; what was frozen never comes back", async () => {
  const { child, dataDir, next } = await start();
  const { url, pids } = await next((told) => told.pids !== undefined);
  const frozen = Object.values(pids ?? {});
  for (const pid of frozen) process.kill(pid, "SIGSTOP");
  const notes: string[] = [];
  while (notes.length < 4) notes.push((await next((told) => told.note !== undefined)).note ?? "");
  expect(notes.sort()).toEqual(
    ["coordinator", "worker"].flatMap((name) => [
      `The ${name} ended (SIGKILL): it is started again.`,
      `The ${name} gave no sign of life for 8 s: killed.`,
    ]),
  );
  expect(frozen.filter(alive)).toEqual([]);
  for (const name of ["coordinator", "worker"]) await starts(dataDir, name, 2);
  expect(await (await fetch(`${url}/`)).text()).toBe("ok");
  child.kill("SIGUSR2");
  const now = await next((told) => told.pids !== undefined);
  expect(Object.values(now.pids ?? {}).filter((pid) => frozen.includes(pid) || !alive(pid))).toEqual([]);
});

test("a coordinator that dies comes back with its ports and its state; so does the worker", async () => {
  const { child, dataDir, next } = await start();
  const first = await next((told) => told.pids !== undefined);
  process.kill(first.pids?.coordinator ?? 0, "SIGKILL");
  await next((told) => told.note?.startsWith("The coordinator ended (SIGKILL)") === true);
  await starts(dataDir, "coordinator", 2);
  expect(readFileSync(join(dataDir, "logs", "coordinator.log"), "utf8").match(/again=\w+/g)).toEqual([
    "again=false",
    "again=true",
  ]);

  process.kill(first.pids?.worker ?? 0, "SIGKILL");
  await next((told) => told.note?.startsWith("The worker ended (SIGKILL)") === true);
  await starts(dataDir, "worker", 2);
  expect(readFileSync(join(dataDir, "logs", "worker.log"), "utf8")).toContain(`join=${first.url} join`);

  child.kill("SIGUSR2");
  const second = await next((told) => told.pids !== undefined);
  expect(second.url).toBe(first.url);
  expect(second.pids?.coordinator).not.toBe(first.pids?.coordinator);
  expect(await (await fetch(`${second.url}/`)).text()).toBe("ok");
});
