/** Scripts with real processes: `skein exec` from any folder, against a mesh that runs. */
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CommandMesh } from "../contract/command-mesh.ts";

const COMMAND = fileURLToPath(new URL("../../cli/compiled.mjs", import.meta.url));

let mesh: CommandMesh;
beforeAll(async () => {
  mesh = await CommandMesh.start();
  const folder = join(mesh.folder, "elsewhere");
  mkdirSync(join(folder, "deep"), { recursive: true });
  writeFileSync(
    join(folder, "greeter.ts"),
    `import { deployment, type Context } from "skein";
export class Greeter {
  seen: string[] = [];
  hello(name: string) { return "hello " + name; }
  async *count(ctx: Context) {
    try {
      for (let i = 0; ; i++) { yield i; await new Promise((resolve) => setTimeout(resolve, 5)); }
    } finally { this.seen.push("left " + ctx.signal.aborted); }
  }
  waiting = 0;
  isWaiting() { return this.waiting > 0; }
  wait(ctx: Context) { this.waiting++; return new Promise((_, reject) => ctx.signal.addEventListener("abort", () => { this.seen.push("cancelled"); reject(ctx.signal.reason); })); }
  log() { return this.seen; }
  boom(): never { throw new RangeError("inner detail"); }
  fetch() { return "http"; }
}
export const app = deployment(Greeter, { rayActorOptions: { numCpus: 0 } }).bind();
`,
  );
  writeFileSync(
    join(folder, "deep", "script.ts"),
    `import * as serve from "skein";
import { app, type Greeter } from "../greeter";
const seen: Record<string, unknown> = { args: process.argv.slice(2) };
const handle = await serve.run(app, { name: "greet", routePrefix: "/greet" });
seen.one = await handle.hello("you");
seen.many = new Set(await Promise.all(Array.from({ length: 100 }, (_, i) => handle.hello(String(i))))).size;
let count = 0;
for await (const i of handle.count()) if ((count = i) === 5) break;
seen.count = count;
while ((await handle.log()).length === 0);
const waiting = handle.wait();
const outcome = waiting.catch((error: serve.SkeinError) => error.code);
while (!(await handle.isWaiting()));
waiting.cancel();
seen.cancelled = await outcome;
seen.error = await handle.boom().catch((error: unknown) => error instanceof serve.SkeinError && [error.code, error.message]);
const again = await serve.getAppHandle<Greeter>("greet");
for (let log: string[] = []; log.length < 2; ) seen.replica = log = await again.log();
seen.status = (await serve.status()).applications.greet?.deployments.Greeter?.replicaStates;
await serve.delete("greet");
seen.left = Object.keys((await serve.status()).applications);
console.log(JSON.stringify(seen));
`,
  );
});
afterAll(() => mesh.stop());

test("run, call, stream, leave, cancel, fail, status, delete; then the script ends by itself", async () => {
  const { exit, stdout, stderr } = await mesh.command(["exec", "../elsewhere/deep/script.ts", "a", "--b"]);
  expect([exit, stderr]).toEqual([0, ""]);
  expect(JSON.parse(stdout)).toEqual({
    args: ["a", "--b"],
    one: "hello you",
    many: 100,
    count: 5,
    cancelled: "CANCELLED",
    error: ["APPLICATION_ERROR", "RangeError: inner detail"],
    replica: ["left true", "cancelled"],
    status: { RUNNING: 1 },
    left: [],
  });
});

async function script(source: string): Promise<{ exit: number | string | null; stdout: string; stderr: string }> {
  writeFileSync(join(mesh.folder, "apps", "one.ts"), source);
  return mesh.command(["exec", "one.ts"]);
}

test("what goes wrong has an exit code and a sentence", async () => {
  const thrown = await script('const x: number = 1;\n\nthrow new Error("mine" + x);\n');
  expect(thrown).toMatchObject({ exit: 1, stderr: expect.stringMatching(/Error: mine1\n.*one\.ts:3:7/s) });
  expect(await script("process.exitCode = 9;")).toMatchObject({ exit: 9, stderr: "" });
  expect(await mesh.command(["exec", "no-such.ts"])).toMatchObject({ exit: 4 });
  const own = await script(
    'import { deployment, run } from "skein";\nexport const app = deployment(class Own { fetch() {} }).bind();\nawait run(app);\n',
  );
  expect(own).toMatchObject({ exit: 2, stderr: expect.stringMatching(/Export it from a file of its own/) });
  const broken = await script('import { run } from "skein";\nawait run("ct_syntax:app");\n');
  expect(broken).toMatchObject({ exit: 2, stderr: expect.stringMatching(/ct_syntax\.ts:2:17/) });
  const alone = await mesh.command(["exec", "--address", "http://127.0.0.1:9", "../elsewhere/deep/script.ts"]);
  expect(alone).toMatchObject({
    exit: 5,
    stderr: expect.stringMatching(/^No mesh answers at http:\/\/127\.0\.0\.1:9 /),
  });
});

test("Ctrl-C ends it with 130", async () => {
  writeFileSync(join(mesh.folder, "apps", "long.ts"), 'console.log("up"); setInterval(() => {}, 1000);\n');
  const child = spawn(process.execPath, [COMMAND, "exec", "long.ts"], {
    cwd: join(mesh.folder, "apps"),
    env: { ...process.env, SKEIN_TEST_MESH: mesh.folder },
  });
  await new Promise((resolve) => child.stdout.once("data", resolve));
  child.kill("SIGINT");
  expect(await new Promise((resolve) => child.once("close", (code, signal) => resolve(code ?? signal)))).toBe(130);
});
