/**
 * Finds a Node that can run this program and runs it there. Plain JavaScript without dependencies, for Node 18 and up:
 * it works before anything is installed. Knows processes and signals; knows nothing of what the program does.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Exit codes of every command of this repository, as listed in CONTRIBUTING.md. */
export const exitCode = {
  ok: 0,
  failed: 1,
  usage: 2,
  badConfig: 3,
  notFound: 4,
  unreachable: 5,
  notAllowed: 6,
  timeout: 7,
  interrupted: 130,
};

/** Oldest major version that has type stripping, JSPI and `node:sqlite`. */
export const oldestMajor = 24;

/** Ctrl-C reaches us from the terminal and again from npm, which forwards it: both within this window are one wish. */
const sameSignalMs = 300;
/** How many wishes to stop a child gets before it is killed. */
const signalsBeforeKill = 2;
const parentCheckMs = 500;
const stopSignals = ["SIGINT", "SIGTERM", "SIGHUP"];

/** Path of the Node that the lock file pins for this platform, whether it is installed or not. */
export function pinnedNode() {
  const platform = process.platform === "win32" ? "win" : process.platform;
  const executable = process.platform === "win32" ? "node.exe" : "node";
  return join(root, "node_modules", `node-${platform}-${process.arch}`, "bin", executable);
}

/** The pinned Node, else the one that runs now if it is new enough, else undefined. */
export function usableNode() {
  if (existsSync(pinnedNode())) return pinnedNode();
  return Number(process.versions.node.split(".")[0]) >= oldestMajor ? process.execPath : undefined;
}

/**
 * Runs `node` with `args` and returns its exit code (128 + n after signal n). Signals are passed on, one per wish; the child
 * gets SIGTERM when this process dies without a word, so nothing is left behind.
 *
 * @param {string} node path of the executable
 * @param {string[]} args
 * @param {{ stdin?: "inherit" | "ignore", env?: Record<string, string> }} [options] a child that may read the terminal (`stdin: "inherit"`)
 *   stays in the terminal's process group and gets Ctrl-C from there; any other has a group of its own and gets it from here.
 * @returns {Promise<number>}
 */
export async function runNode(node, args, { stdin = "ignore", env = {} } = {}) {
  const readsTerminal = stdin === "inherit" && process.stdin.isTTY === true;
  const watch = pathToFileURL(join(root, "cli", "parent-watch.mjs")).href;
  const child = spawn(node, ["--import", watch, ...args], {
    stdio: [stdin, "inherit", "inherit", "ipc"],
    detached: !readsTerminal && process.platform !== "win32",
    env: { ...process.env, ...env },
  });
  const stopForwarding = onStopSignal((signal, wishes) => {
    if (readsTerminal && signal === "SIGINT") return;
    killGroup(child, wishes > signalsBeforeKill ? "SIGKILL" : signal);
  });
  try {
    return await exited(child);
  } finally {
    stopForwarding();
  }
}

/**
 * Calls `stop(signal, wishes)` for each wish to stop: Ctrl-C, a signal, or the death of the npm that started us.
 * `wishes` counts from 1. Returns a function that ends this.
 */
export function onStopSignal(stop) {
  let wishes = 0;
  let last = -Infinity;
  const wish = (signal) => {
    const now = performance.now();
    if (now - last < sameSignalMs) return;
    last = now;
    wishes += 1;
    stop(signal, wishes);
  };
  for (const signal of stopSignals) process.on(signal, wish);
  const orphaned = onNpmDeath(() => wish("SIGTERM"));
  return () => {
    for (const signal of stopSignals) process.off(signal, wish);
    clearInterval(orphaned);
  };
}

/** Under `npm start` our parent is npm or its shell. When npm is killed outright, the only sign is a new parent of one of us. */
function onNpmDeath(stop) {
  if (process.env.npm_lifecycle_event === undefined) return undefined;
  const shell = process.ppid;
  const throughShell = /^(ba|da|z)?sh$/.test(procFile(shell, "comm").trim());
  const ancestors = () => `${process.ppid} ${throughShell ? parentOf(shell) : ""}`;
  const atStart = ancestors();
  const timer = setInterval(() => {
    if (ancestors() === atStart) return;
    clearInterval(timer);
    stop();
  }, parentCheckMs);
  timer.unref();
  return timer;
}

/** Linux only; elsewhere (macOS) npm's shell replaces itself with us, so that our own parent is npm. */
function parentOf(pid) {
  return /^\d+ \(.*\) \S (\d+)/s.exec(procFile(pid, "stat"))?.[1];
}

function procFile(pid, name) {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  } catch {
    return "";
  }
}

/** Signals a child and, where it leads a process group, everything in it. */
export function killGroup(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  try {
    // Only SIGKILL goes to the whole group: a program stops its own children in order when it is asked to.
    if (signal === "SIGKILL" && process.platform !== "win32") process.kill(-child.pid, signal);
    else child.kill(signal);
  } catch {
    child.kill(signal);
  }
}

/** Exit code of a child process; 128 + n after signal n. Rejects when it could not be started. */
export function exited(child) {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(code ?? 128 + (constants.signals[signal] ?? 1)));
  });
}
