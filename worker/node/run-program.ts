/** Runs another program to its end: the Node side of model fetching. Keeps only the end of what it says. */
import { spawn } from "node:child_process";
import { PROGRAM_OUTPUT_MAX } from "../models/limits.ts";
import type { RunProgram } from "../models/wheel.ts";

export const runProgram: RunProgram = (program, args, { signal }) =>
  new Promise((resolve, reject) => {
    // A group of its own: Ctrl-C in a terminal must not reach the program behind our back; an abort kills it by `signal`.
    const child = spawn(program, args, {
      signal,
      stdio: ["ignore", "ignore", "pipe"],
      detached: process.platform !== "win32",
    });
    let errorOutput = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errorOutput = (errorOutput + text).slice(-PROGRAM_OUTPUT_MAX);
    });
    child.once("error", reject);
    child.once("close", (code) => resolve({ exitCode: code ?? 1, errorOutput }));
  });
