/** Runs another program to its end: the Node side of model fetching. Keeps only the end of what it says. */
import { spawn } from "node:child_process";
import { PROGRAM_OUTPUT_MAX } from "../models/limits.ts";
import type { RunProgram } from "../models/wheel.ts";

export const runProgram: RunProgram = (program, args, { signal }) =>
  new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      signal,
      stdio: ["pipe", "ignore", "pipe"],
    });
    let errorOutput = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errorOutput = (errorOutput + text).slice(-PROGRAM_OUTPUT_MAX);
    });
    child.once("error", reject);
    child.once("close", (code) => resolve({ exitCode: code ?? 1, errorOutput }));
  });
