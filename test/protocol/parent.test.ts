/** Parent and child processes: a child ends when it wants to, and with its parent, even while it computes. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { childReady, spawnChild } from "../../protocol/node/parent.ts";

const childMain = fileURLToPath(new URL("parent-child-main.ts", import.meta.url));
const parentMain = fileURLToPath(new URL("parent-main.ts", import.meta.url));

test.each([false, true])("a child may exit by itself (user code: %s)", { timeout: 30_000 }, async (userCode) => {
  const child = spawnChild(childMain, { output: "inherit", userCode });
  await childReady(child, {});
  const exited = once(child, "exit");
  child.send({ type: "stop" });
  expect(await exited).toEqual([7, null]);
});

test.each(["waits", "computes", "is stopped"])(
  "a child that %s ends with its parent",
  { timeout: 30_000 },
  async (CHILD) => {
    const parent = spawn(process.execPath, [parentMain], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, CHILD },
    });
    const [line] = (await once(parent.stdout, "data")) as [Buffer];
    const pid = Number(line.toString());
    expect(runs(pid)).toBe(true);
    parent.kill("SIGKILL");
    const deadline = performance.now() + 20_000;
    while (runs(pid) && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
    const left = runs(pid);
    if (left) process.kill(pid, "SIGKILL");
    expect(left).toBe(false);
  },
);

/** A zombie that nobody has waited for yet doesn't run. */
function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return process.platform !== "linux" || !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
