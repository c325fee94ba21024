/** Parent and child processes: a child ends when it wants to, and with its parent, even while it computes. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { childReady, spawnChild } from "../../protocol/node/parent.ts";

const childMain = fileURLToPath(new URL("parent-child-main.ts", import.meta.url));
const parentMain = fileURLToPath(new URL("parent-main.ts", import.meta.url));

test.each([false, true])("a child may exit by itself (user code: %s)", async (userCode) => {
  const child = spawnChild(childMain, { output: "inherit", userCode });
  await childReady(child, {});
  const exited = once(child, "exit");
  child.send({ type: "stop" });
  expect(await exited).toEqual([7, null]);
});

test.each(["waits", "computes", "is stopped"])("a child that %s ends with its parent", async (CHILD) => {
  const { parent, pid } = await family(CHILD);
  expect(runs(pid)).toBe(true);
  parent.kill("SIGKILL");
  expect(await ends(pid)).toBe(true);
});

test("a reaper that was killed is replaced, and a child that computes still ends with its parent", async (context) => {
  if (process.platform !== "linux") context.skip("processes' parents are read from /proc");
  const { parent, pid } = await family("computes");
  try {
    const [first] = shellsOf(parent.pid!);
    process.kill(first!, "SIGKILL");
    const others = (): number[] => shellsOf(parent.pid!).filter((shell) => shell !== first);
    expect(await becomes(() => others().length === 1)).toBe(true);
    const [second] = others();
    parent.kill("SIGKILL");
    expect([await ends(pid), await ends(second!)]).toEqual([true, true]);
  } finally {
    // What failed to end would compute for ever.
    for (const left of [parent.pid!, pid]) if (runs(left)) process.kill(left, "SIGKILL");
  }
});

/** A parent that can be killed, and its child's pid. */
async function family(CHILD: string): Promise<{ readonly parent: ChildProcess; readonly pid: number }> {
  const parent = spawn(process.execPath, [parentMain], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, CHILD },
  });
  const [line] = (await once(parent.stdout, "data")) as [Buffer];
  return { parent, pid: Number(line.toString()) };
}

async function becomes(isSo: () => boolean): Promise<boolean> {
  const deadline = performance.now() + 40_000;
  while (!isSo() && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  return isSo();
}

/** Whether it ends; ends what doesn't. */
async function ends(pid: number): Promise<boolean> {
  const hasEnded = await becomes(() => !runs(pid));
  if (!hasEnded) process.kill(pid, "SIGKILL");
  return hasEnded;
}

/** Shells that a process has started and that run. */
function shellsOf(parent: number): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const [, state, of] =
        /^\d+ \((?:sh|dash|bash)\) (\S) (\d+)/.exec(readFileSync(`/proc/${name}/stat`, "utf8")) ?? [];
      return Number(of) === parent && state !== "Z" ? [Number(name)] : [];
    } catch {
      // It has ended meanwhile.
      return [];
    }
  });
}

/** A zombie that nobody has waited for yet doesn't run. */
function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform !== "linux" || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
