/** The `skein` command: makes the real terminal, clock, network and signals, and runs one command line. */
import { setTimeout as delay } from "node:timers/promises";
import { dataDirectory } from "../worker/node/data-directory.ts";
import { runCommandLine } from "./command-line.ts";
import { lightFetch } from "./fetch.ts";
import { Progress } from "./progress.ts";
import type { Shell } from "./shell.ts";

/** A terminal's Ctrl-C may come once more through npm: both within this are one wish, ms. */
const SAME_WISH_MS = 300;

const stop = new AbortController();
const kill = new AbortController();
let lastWish = -Infinity;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
  process.on(signal, () => {
    const now = performance.now();
    if (now - lastWish < SAME_WISH_MS) return;
    lastWish = now;
    (stop.signal.aborted ? kill : stop).abort();
  });

// `skein status | head -1` is no failure, and a terminal that is gone must not keep the mesh from stopping in order.
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE" && stream === process.stdout && !stop.signal.aborted) stop.abort();
  });

const progress = new Progress(
  (text) => void process.stderr.write(text),
  process.stderr.isTTY === true,
  () => performance.now(),
);
const shell: Shell = {
  out: (text) => void process.stdout.write(text),
  note: (line) => {
    progress.clear();
    process.stderr.write(`${line}\n`);
  },
  progress,
  env: process.env,
  cwd: process.cwd(),
  dataDirectory: dataDirectory(process.env),
  get stdin() {
    return process.stdin;
  },
  terminal: process.stdout.isTTY === true,
  fetch: lightFetch,
  now: () => performance.now(),
  sleep: async (ms, signal = stop.signal) => {
    await delay(ms, undefined, { signal, ref: true }).catch(() => {});
  },
  every: (ms, callback) => {
    const timer = setInterval(callback, ms).unref();
    return () => clearInterval(timer);
  },
  stop: stop.signal,
  kill: kill.signal,
};

process.exitCode = await runCommandLine(process.argv.slice(2), shell);
// Sockets of a followed stream or a kept-alive connection must not hold the terminal.
if (process.stdout.writableLength === 0 && process.stderr.writableLength === 0) process.exit();
process.stdout.end(() => process.exit());
