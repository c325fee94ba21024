/** `setup.mjs` and the `skein` bin as processes: in a small copy of a clone, with an npm that does what the test says. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

const repository = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const COPIED = ["setup.mjs", "cli/pinned-node.mjs", "cli/parent-watch.mjs", "cli/bin.mjs", "cli/compiled.mjs"];
const manifest = { name: "small", type: "module", scripts: { a: "1" }, dependencies: { x: "1.0.0" } };

/** Logs each call to `calls`, then: fails with the text in `fails`, or hangs if there is a file `hangs`, or puts a Node in place. */
const NPM = `
const fs = require("node:fs"), path = require("node:path");
fs.appendFileSync("calls", process.pid + " " + process.argv.slice(2).join(" ") + "\\n");
fs.rmSync("node_modules", { recursive: true, force: true });
if (fs.existsSync("hangs")) { setInterval(() => {}, 1000); return; }
if (fs.existsSync("fails")) { console.error(fs.readFileSync("fails", "utf8")); process.exit(1); }
const bin = path.join("node_modules", "node-" + process.platform.replace("win32", "win") + "-" + process.arch, "bin");
fs.mkdirSync(bin, { recursive: true });
fs.symlinkSync(process.execPath, path.join(bin, process.platform === "win32" ? "node.exe" : "node"));
`;
/** Writes its pid, tells each signal, and ends on the second SIGINT or the first SIGTERM. */
const MAIN = `
import { writeFileSync } from "node:fs";
let interrupts = 0;
process.on("SIGINT", () => { console.log("SIGINT"); if (++interrupts === 2) process.exit(130); });
process.on("SIGTERM", () => { writeFileSync("terminated", ""); process.exit(143); });
writeFileSync("main.pid", String(process.pid));
console.log("args " + process.argv.slice(2).join(" "), "flags " + process.execArgv.length);
if (process.argv[2] === "code") process.exit(Number(process.argv[3]));
setInterval(() => {}, 1000);
`;

let root: string;
let running: ChildProcess[];

beforeEach(async () => {
  running = [];
  root = await mkdtemp(join(tmpdir(), "skein-setup-"));
  await mkdir(join(root, "cli"));
  for (const file of COPIED) await copyFile(join(repository, file), join(root, file));
  await put("package.json", JSON.stringify(manifest));
  await put("package-lock.json", "{}");
  // CommonJS, while the package.json above says "module".
  await mkdir(join(root, "npm"));
  await put("npm/package.json", "{}");
  await put("npm/npm-cli.js", NPM);
  await put("cli/main.ts", MAIN);
});
afterEach(async () => {
  for (const child of running) child.kill("SIGKILL");
  await rm(root, { recursive: true, force: true });
});

const put = (path: string, text: string) => writeFile(join(root, path), text);
const read = (path: string) => readFile(join(root, path), "utf8").catch(() => "");
const calls = async () => (await read("calls")).split("\n").filter(Boolean);
const isThere = (path: string) =>
  stat(join(root, path)).then(
    () => true,
    () => false,
  );

function start(...args: string[]) {
  const npm = join(root, "npm", "npm-cli.js");
  const env = { ...process.env, npm_execpath: npm, npm_lifecycle_event: undefined };
  const child = spawn(process.execPath, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
  running.push(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, output }));
  return { child, ended, output: () => output };
}
const setup = (...args: string[]) => start("setup.mjs", ...args);

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries += 1) {
    if (await condition()) return;
    await delay(50);
  }
  throw new Error(`never happened: ${what}`);
}
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test("installs once, again when dependencies change, not when scripts do", async () => {
  expect(await setup("install").ended).toMatchObject({
    code: 0,
    output: expect.stringContaining("Installed") as string,
  });
  expect((await calls())[0]).toContain("ci --ignore-scripts --no-audit --no-fund");
  expect(await setup("install").ended).toEqual({ code: 0, output: "" });
  await put("package.json", JSON.stringify({ ...manifest, scripts: { a: "2" } }));
  await setup("install").ended;
  expect(await calls()).toHaveLength(1);
  await put("package-lock.json", "{ }");
  await setup("install").ended;
  await put("package.json", JSON.stringify({ ...manifest, dependencies: { x: "1.0.1" } }));
  await setup("install").ended;
  expect(await calls()).toHaveLength(3);
});

test.for([
  [[], 2, "No command given."],
  [["strat"], 2, `Unknown command "strat".`],
  [["run", "nothing"], 2, "check, bench, chaos, clients, fuzz, long"],
  [["--help"], 0, "Exit codes: 0 ok"],
  [["exec", "gone.ts"], 4, "There is no gone.ts"],
  [["exec", "cli/main.ts", "code", "7"], 7, "args code 7 flags 0"],
] as const)("setup.mjs %j ends with %i", async ([args, code, says]) => {
  expect(await setup(...args).ended).toMatchObject({ code, output: expect.stringContaining(says) as string });
});

test.for([
  [
    "npm error code ENOTFOUND\nnpm error network request to https://r failed",
    5,
    /^No network: .*then repeat the command\.$/m,
  ],
  ["npm error code ENOSPC\nnpm error nospc", 1, /^The disk is full: free [\d.]+ GB/m],
  ["npm error code EACCES", 6, /^Not allowed to write into/m],
  ["npm error code EUSAGE\nnpm error Missing: x@1 from lock file", 1, /Missing: x@1 from lock file/],
] as const)("npm saying %j ends with %i and a sentence", async ([text, code, sentence]) => {
  await put("fails", text);
  expect(await setup("start").ended).toMatchObject({ code, output: expect.stringMatching(sentence) as string });
  await rm(join(root, "fails"));
  expect(await setup("install").ended).toMatchObject({ code: 0 });
});

test("a Node that npm left out is noticed at once", async () => {
  const { platform, arch } = process;
  const left = `node_modules/node-${platform.replace("win32", "win")}-${arch}`;
  await put("package-lock.json", JSON.stringify({ packages: { [left]: {} } }));
  await put("npm/npm-cli.js", `require("node:fs").mkdirSync("node_modules", { recursive: true });`);
  expect(await setup("start").ended).toMatchObject({
    code: 5,
    output: expect.stringContaining(`left out ${left}`) as string,
  });
  await put(
    "npm/npm-cli.js",
    `require("node:fs").mkdirSync("node_modules", { recursive: true }); console.error("npm warn tar TAR_ENTRY_ERROR ENOSPC");`,
  );
  expect(await setup("start").ended).toMatchObject({
    code: 1,
    output: expect.stringContaining("The disk is full") as string,
  });
});

test("Ctrl-C while installing leaves no process, and the next run installs", async () => {
  await put("hangs", "");
  const first = setup("start");
  await until("npm runs", async () => (await calls()).length === 1);
  first.child.kill("SIGINT");
  expect(await first.ended).toMatchObject({ code: 130, output: expect.stringContaining("Interrupted") as string });
  expect(isAlive(Number.parseInt((await calls())[0]!))).toBe(false);
  await rm(join(root, "hangs"));
  expect(await setup("install").ended).toMatchObject({ code: 0 });
});

test("kill -9 while installing takes npm along, and the next run installs", async () => {
  await put("hangs", "");
  const first = setup("start");
  await until("npm runs", async () => (await calls()).length === 1);
  first.child.kill("SIGKILL");
  const npm = Number.parseInt((await calls())[0]!);
  await until("npm is gone", () => !isAlive(npm));
  await rm(join(root, "hangs"));
  expect(await setup("install").ended).toMatchObject({ code: 0 });
});

test("two installs at once: the second waits and finds the work done", async () => {
  const both = await Promise.all([setup("install").ended, setup("install").ended]);
  expect(both.map(({ code }) => code)).toEqual([0, 0]);
  expect(await calls()).toHaveLength(1);
});

test("start passes on one Ctrl-C as one, the next as the next, and the exit code back", async () => {
  const { child, ended, output } = setup("start", "--flag");
  await until("main runs", () => output().includes("args quickstart --flag flags 0"));
  // One wish can come twice: from the terminal, and from npm, which forwards it. (Two of a kind at once the kernel would join, and of two
  // kinds at once the second may come first.)
  child.kill("SIGINT");
  await delay(50);
  child.kill("SIGTERM");
  await until("main was told", () => output().includes("SIGINT"));
  await delay(500);
  expect(output().match(/SIGINT/g)).toHaveLength(1);
  child.kill("SIGINT");
  expect((await ended).code).toBe(130);
});

test("kill -9 of setup ends the program", async () => {
  const { child } = setup("start");
  await until("main runs", () => isThere("main.pid"));
  const pid = Number(await read("main.pid"));
  child.kill("SIGKILL");
  await until("main is gone", () => !isAlive(pid));
  expect(await isThere("terminated")).toBe(true);
});

test("the bin goes on in this Node, and says what to do when nothing is installed", async () => {
  expect(await start("cli/bin.mjs", "code", "3").ended).toMatchObject({
    code: 1,
    output: expect.stringContaining("setup.mjs install") as string,
  });
  await setup("install").ended;
  expect(await start("cli/bin.mjs", "code", "3").ended).toMatchObject({ code: 3 });
});
