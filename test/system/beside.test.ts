/** `skein run` beside a live mesh, with real processes: adds its application, follows edits, takes only itself away; then the mesh is ended. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";

const skein = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "skein-beside-"));
const children: ChildProcess[] = [];
afterEach(() => {
  children.forEach((child) => child.kill("SIGKILL"));
  rmSync(folder, { recursive: true, force: true });
});

interface Run {
  readonly child: ChildProcess;
  readonly text: { out: string; err: string };
  readonly exited: Promise<number | string | null>;
}

function command(...args: string[]): Run {
  const child = spawn(process.execPath, [skein, ...args, "--data-dir", join(folder, "data")], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const text = { out: "", err: "" };
  child.stdout.on("data", (bytes: Buffer) => (text.out += bytes.toString("utf8")));
  child.stderr.on("data", (bytes: Buffer) => (text.err += bytes.toString("utf8")));
  return {
    child,
    text,
    exited: new Promise((resolve) => child.once("close", (code, signal) => resolve(code ?? signal))),
  };
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`Not within 60 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const source = (word: string): string => `import { deployment } from "skein";
class Hello { fetch() { return "${word}"; } }
export const app = deployment(Hello, { rayActorOptions: { numCpus: 0.1 } }).bind();\n`;

test("run beside a mesh, edit, break, mend, leave, end the mesh", async () => {
  writeFileSync(join(folder, "hello.ts"), source("one"));
  const mesh = command("start", "--dashboard-port", "0", "--mesh-port", "0", "--http-port", "0", "--json-ready");
  await until(`the mesh is up: ${mesh.text.err}`, () => mesh.text.out.includes("\n"));

  const beside = command("run", "hello:app", "--name", "mine", "--route-prefix", "/mine", "--reload", "--json-ready");
  await until("the application serves", () => beside.text.out.includes("\n"));
  const url = (JSON.parse(beside.text.out) as { urls: { mine: string } }).urls.mine.replace(
    "//localhost:",
    "//127.0.0.1:",
  );
  const says = async (): Promise<string> => (await fetch(url)).text();
  expect(await says()).toBe("one");

  writeFileSync(join(folder, "hello.ts"), source("two"));
  await until("the edit serves", async () => (await says()) === "two");
  writeFileSync(join(folder, "hello.ts"), `${source("three")}x(\n`);
  await until("the mistake is told", () => beside.text.err.includes("Watching for the next change."));
  expect(beside.text.err).toMatch(/hello\.ts:\d+:\d+/);
  expect(await says()).toBe("two");
  writeFileSync(join(folder, "hello.ts"), source("four"));
  await until("the mended code serves", async () => (await says()) === "four");

  // Another one of the same name that can't even be built leaves what runs alone.
  const wrong = command("run", "hello:nothing", "--name", "mine", "--route-prefix", "/mine");
  expect(await wrong.exited).toBe(4);
  expect(await says()).toBe("four");

  beside.child.kill("SIGINT");
  expect(await beside.exited).toBe(130);
  await until("only the application is gone", async () => (await fetch(url)).status === 404);

  const end = command("shutdown", "-y", "--mesh");
  expect(await end.exited).toBe(0);
  expect(await mesh.exited).toBe(0);
  expect(await command("status").exited).toBe(5);
});
