/**
 * Makes a fresh clone run: installs the packages that the lock file names (among them a pinned Node), then goes on in that Node.
 * Plain JavaScript, for Node 18 and up. Knows npm and the order of steps; what the steps do is in the programs that it starts.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs, { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import {
  exitCode,
  exited,
  killGroup,
  oldestMajor,
  onStopSignal,
  pinnedNode,
  root,
  runNode,
  usableNode,
} from "./cli/pinned-node.mjs";

const usage = `Usage: node setup.mjs <command>

  start [options]     install what is missing, then serve the example model and show how to talk to it
  test [filter...]    install what is missing, fetch browser and model, run the tests
  run <name>          ${"check | bench | chaos | clients | fuzz | long | sim"}, each with its own options
  exec <file> [...]   run a program of this repository on its own Node
  install             only install

Exit codes: 0 ok, 1 failed, 2 usage, 3 bad configuration, 4 not found, 5 unreachable, 6 not allowed, 7 timeout, 130 interrupted.`;

const vitest = "node_modules/vitest/vitest.mjs";
const scripts = {
  check: [vitest, "run", "--project", "unit", "test/tidy.test.ts", "test/checks.test.ts"],
  bench: ["bench/main.ts"],
  chaos: ["test/chaos/main.ts"],
  clients: ["test/clients/main.ts"],
  fuzz: ["test/fuzz/main.ts"],
  long: [],
  sim: ["test/sim/run-main.ts"],
};

const stampFile = join(root, "node_modules", ".skein-stamp");
const lockFolder = join(root, ".cache");
const lockFile = join(lockFolder, "install.pid");
const diskNeededGb = 1.5;
const progressMs = { terminal: 200, log: 10_000 };
const killAfterMs = 3_000;
/** The end of npm's output is kept for the error message; its beginning is progress. */
const keptOutputChars = 16_384;

/** Without a network npm gives up after some 10 s with these, instead of minutes. */
const npmRetries = ["--fetch-retries=3", "--fetch-retry-factor=2", "--fetch-retry-mintimeout=1000"];

/** An error that the user can act on: one sentence and an exit code. */
class SetupError extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exitCode = error.code;
}

async function main([command, ...rest]) {
  process.chdir(root);
  const known = ["start", "test", "run", "exec", "install", "--help", "-h"];
  if (!known.includes(command)) {
    throw new SetupError(
      `${command === undefined ? "No command given." : `Unknown command "${command}".`}\n\n${usage}`,
      exitCode.usage,
    );
  }
  if (command === "--help" || command === "-h") return (console.log(usage), exitCode.ok);
  const [name, ...options] = rest;
  const script = command === "run" ? scripts[name ?? ""] : undefined;
  if (command === "run" && script === undefined) {
    throw new SetupError(`Unknown script "${name ?? ""}": one of ${Object.keys(scripts).join(", ")}.`, exitCode.usage);
  }
  if (command === "exec" && name === undefined) throw new SetupError("exec: which file?", exitCode.usage);

  await ensurePackages();
  if (command === "install") return exitCode.ok;
  if (command === "start") return program(["cli/compiled.mjs", "quickstart", ...rest]);
  if (command === "test") return test(["unit", "system"], rest);
  if (command === "run" && name === "long") return test(["long"], options);
  if (command === "exec") return program(rest, { stdin: "inherit" });
  return program([...script, ...options]);
}

/** Fetches what the tests need with progress, then runs them; the reporter prints skips with reasons and the closing line. */
async function test(projects, filters) {
  const prepared = await program(["test/support/prepare-main.ts"]);
  if (prepared !== exitCode.ok) return prepared;
  const chosen = projects.flatMap((project) => ["--project", project]);
  const reporters = ["--reporter=default", "--reporter=./test/support/summary-reporter.ts"];
  return program([vitest, "run", ...chosen, ...reporters, ...filters]);
}

function program(args, options) {
  const file = args[0];
  if (!file.startsWith("-") && !existsSync(file))
    throw new SetupError(`There is no ${file} in ${root}.`, exitCode.notFound);
  const node = usableNode();
  if (node === undefined) {
    throw new SetupError(
      `No Node comes with the packages for ${process.platform}-${process.arch}: install Node ${oldestMajor} or newer ` +
        `from https://nodejs.org (this is ${process.version}), then repeat the command.`,
      exitCode.failed,
    );
  }
  return runNode(node, args, options);
}

// --- packages -------------------------------------------------------------------------------------------------------------

async function ensurePackages() {
  const wanted = stamp();
  if (installed() === wanted) return;
  const release = await lockInstall();
  try {
    if (installed() === wanted) return;
    await npmCi();
    checkPinnedNode();
    writeFileSync(stampFile, wanted);
  } catch (error) {
    if (error.code === "ENOSPC") throw diskFull();
    throw error;
  } finally {
    release();
  }
}

/** What must be installed, as a hash. It lies inside node_modules, which `npm ci` removes first: no stamp, no finished install. */
function stamp() {
  const { dependencies, optionalDependencies, devDependencies, overrides } = JSON.parse(
    readFileSync("package.json", "utf8"),
  );
  return createHash("sha256")
    .update(
      JSON.stringify([dependencies, optionalDependencies, devDependencies, overrides, process.platform, process.arch]),
    )
    .update(readFileSync("package-lock.json"))
    .digest("hex");
}

function installed() {
  return existsSync(stampFile) ? readFileSync(stampFile, "utf8") : undefined;
}

/** Two installs into one folder would tear each other apart: the second waits. A lock whose owner is dead is taken over. */
async function lockInstall() {
  try {
    mkdirSync(lockFolder, { recursive: true });
    for (let told = false; ; told = true) {
      try {
        writeFileSync(lockFile, String(process.pid), { flag: "wx" });
        return () => rmSync(lockFile, { force: true });
      } catch (error) {
        if (error.code !== "EEXIST") throw error;
      }
      const owner = Number(readFileSync(lockFile, "utf8"));
      if (owner > 0 && !alive(owner)) rmSync(lockFile, { force: true });
      else if (!told) console.log(`Waiting for the install that process ${owner || "?"} is doing ...`);
      await new Promise((resolve) => setTimeout(resolve, progressMs.terminal));
    }
  } catch (error) {
    if (error.code === "ENOSPC") throw diskFull();
    if (["EACCES", "EPERM", "EROFS"].includes(error.code)) throw notWritable();
    throw error;
  }
}

function alive(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error.code === "EPERM";
  }
}

async function npmCi() {
  const started = performance.now();
  if (freeGb() < diskNeededGb) throw diskFull();
  console.log(`Installing packages into ${join(root, "node_modules")} (about 1 GB; once) ...`);
  const child = spawnNpm([
    "ci",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--no-progress",
    "--loglevel=http",
    ...npmRetries,
  ]);

  let output = "";
  let fetched = 0;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      fetched += text.match(/^npm http (fetch|cache) /gm)?.length ?? 0;
      output = (output + text).slice(-keptOutputChars);
    });
  }
  const terminal = process.stdout.isTTY === true;
  const progress = setInterval(
    () => {
      const seconds = Math.round((performance.now() - started) / 1000);
      const line = `  ${seconds} s, ${fetched} packages fetched`;
      if (terminal) process.stdout.write(`\r${line}`);
      else console.log(line);
    },
    terminal ? progressMs.terminal : progressMs.log,
  );

  let stopped;
  const stopForwarding = onStopSignal((signal) => {
    stopped ??= signal;
    killGroup(child, "SIGTERM");
    setTimeout(() => killGroup(child, "SIGKILL"), killAfterMs).unref();
  });
  let code;
  try {
    code = await exited(child);
  } catch (error) {
    throw new SetupError(
      `npm could not be started (${error.message}). It comes with Node: install both from https://nodejs.org.`,
      exitCode.notFound,
    );
  } finally {
    stopForwarding();
    clearInterval(progress);
    if (terminal) process.stdout.write("\r\x1b[K");
  }
  if (stopped !== undefined) {
    throw new SetupError(
      "Interrupted while installing packages. The same command starts the install again.",
      exitCode.interrupted,
    );
  }
  // Optional packages (our Node is one) that don't fit are left out without a word, and npm says 0.
  if (/ENOSPC/.test(output)) throw diskFull();
  if (code !== 0) throw npmFailure(output);
  console.log(`Installed in ${Math.round((performance.now() - started) / 1000)} s.`);
}

/** npm in a process group of its own; where npm is a script that we know the path of, it also ends when we are killed. */
function spawnNpm(args) {
  const options = { detached: process.platform !== "win32", cwd: root };
  const script = [
    process.env.npm_execpath,
    join(dirname(process.execPath), "..", "lib", "node_modules", "npm", "bin", "npm-cli.js"),
  ].find((path) => path?.endsWith("npm-cli.js") && existsSync(path));
  if (script === undefined) {
    const windows = process.platform === "win32";
    return spawn(windows ? "npm.cmd" : "npm", args, { ...options, stdio: ["ignore", "pipe", "pipe"], shell: windows });
  }
  const watch = new URL("./cli/parent-watch.mjs", import.meta.url).href;
  return spawn(process.execPath, ["--import", watch, script, ...args], {
    ...options,
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
}

function npmFailure(output) {
  const errors = output
    .split("\n")
    .filter((line) => /^npm (error|ERR!)/.test(line) && !/complete log of this run|debug-\d*\.log/.test(line));
  const text = errors.join("\n");
  if (/\b(EACCES|EPERM|EROFS)\b/.test(text)) return notWritable();
  if (
    /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT|ERR_SOCKET_TIMEOUT|EIDLETIMEOUT)\b/.test(
      text,
    )
  ) {
    return new SetupError(
      "No network: npm can't reach the package registry. Connect, or set a proxy or mirror (`npm config set registry <url>`), " +
        "then repeat the command.",
      exitCode.unreachable,
    );
  }
  return new SetupError(`npm could not install the packages:\n${text || output}`, exitCode.failed);
}

/** A Node that is installed but can't run is found here, with its reason, and not in the middle of something else. */
function checkPinnedNode() {
  if (!existsSync(pinnedNode())) {
    const listed = relative(root, dirname(dirname(pinnedNode()))).replaceAll("\\", "/");
    if (JSON.parse(readFileSync("package-lock.json", "utf8")).packages?.[listed] === undefined) return;
    throw new SetupError(`npm left out ${listed}, which it could not fetch: repeat the command.`, exitCode.unreachable);
  }
  const { status, stderr } = spawnSync(pinnedNode(), ["--version"], { encoding: "utf8" });
  if (status === 0) return;
  const missing = /(lib[\w.+-]+\.so[\w.]*)/.exec(stderr ?? "")?.[1];
  throw new SetupError(
    missing === undefined
      ? `The Node in the packages does not run here: ${(stderr ?? "").trim()}`
      : `The Node in the packages needs ${missing}: install it (Debian: apt-get install ${missing.split(".so")[0]}1), then repeat the command.`,
    exitCode.failed,
  );
}

/** Free space for the packages; what an earlier install takes is about to be freed. Infinity where this Node can't tell. */
function freeGb() {
  if (fs.statfsSync === undefined || existsSync("node_modules")) return Infinity;
  const { bavail, bsize } = fs.statfsSync(root);
  return (bavail * bsize) / 1e9;
}

function diskFull() {
  return new SetupError(
    `The disk is full: free ${diskNeededGb} GB under ${root}, then repeat the command.`,
    exitCode.failed,
  );
}

function notWritable() {
  return new SetupError(
    `Not allowed to write into ${root} (or npm's cache): make it yours, then repeat the command.`,
    exitCode.notAllowed,
  );
}
