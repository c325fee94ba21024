/** ONNX Runtime's native build reports to its makers unless told otherwise in time. Nothing of ours may talk to anyone unasked. */
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skein-telemetry-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/**
 * Loads and runs a model in a process of its own, waits as long as the reporter needs to wake up, and prints the process's network
 * sockets (Linux: its open socket inodes that the kernel lists as TCP or UDP).
 */
const PROGRAM = `
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
const { makeTinyGguf } = await import(${JSON.stringify(import.meta.resolve("../../support/tiny-gguf.ts"))});
const { sourceOfBytes } = await import(${JSON.stringify(import.meta.resolve("../../../engine/gguf/source.ts"))});
const { prepareInMemory } = await import(${JSON.stringify(import.meta.resolve("../../../engine/prepare.ts"))});
const { createNativeRunner } = await import(${JSON.stringify(import.meta.resolve("../../../engine/providers/native.ts"))});
const sockets = () => {
  if (process.platform !== "linux") return [];
  const listed = ["tcp", "tcp6", "udp", "udp6"].flatMap((kind) => {
    try { return readFileSync("/proc/net/" + kind, "utf8").split("\\n").slice(1).map((line) => line.trim().split(/\\s+/)[9]); }
    catch { return []; }
  });
  const open = readdirSync("/proc/self/fd").flatMap((fd) => {
    try { return /^socket:\\[(\\d+)\\]$/.exec(readlinkSync("/proc/self/fd/" + fd))?.[1] ?? []; }
    catch { return []; }
  });
  return open.filter((inode) => listed.includes(inode));
};
const prepared = await prepareInMemory(sourceOfBytes(makeTinyGguf().bytes), { target: "native" });
const runner = await createNativeRunner(prepared, { threads: 1, slots: 1, slotLength: 32 });
await runner.prefill(0, Int32Array.of(1, 2, 3), 0, true);
const seen = new Set();
for (let i = 0; i < 30; i++) {
  for (const inode of sockets()) seen.add(inode);
  await new Promise((resolve) => setTimeout(resolve, 50));
}
await runner.release();
// The check itself is checked: a socket of ours must be seen.
const server = createServer().listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));
const control = sockets().length;
server.close();
console.log(JSON.stringify({ sockets: seen.size, control }));
`;

function run(environment: Record<string, string>): Promise<{ stdout: string; stderr: string }> {
  const { ORT_DISABLE_TELEMETRY: _, ...inherited } = process.env;
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ["--input-type=module", "--eval", PROGRAM],
      { env: { ...inherited, TMPDIR: folder, ...environment } },
      (_error, stdout, stderr) => resolve({ stdout, stderr }),
    );
  });
}

test("with the variable set, a model runs without a connection and without a log of one", async () => {
  const { stdout, stderr } = await run({ ORT_DISABLE_TELEMETRY: "1" });
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toEqual({ sockets: 0, control: process.platform === "linux" ? 1 : 0 });
  expect(await readdir(folder)).toEqual([]);
});

test("without it, the provider refuses to load the add-on at all", async () => {
  const { stdout, stderr } = await run({});
  expect(stdout).toBe("");
  expect(stderr).toContain("start this process with ORT_DISABLE_TELEMETRY=1 in its environment");
  expect(await readdir(folder)).toEqual([]);
});
