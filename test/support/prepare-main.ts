/** Fetches what the tests need and no test should wait for: the packed browser, the default model and the encoder. Prints each stage. */
import { EXIT, OUTSIDE, SkeinError } from "../../protocol/errors.ts";
import { describeProgress, type OnProgress } from "../../worker/models/progress.ts";
import { browserKitProblem, ensureBrowserKit } from "./browser-kit.ts";
import { defaultModelPath, encoderModelPath } from "./default-model.ts";

const terminal = process.stdout.isTTY;
const logIntervalMs = 5_000;

try {
  const problem = browserKitProblem();
  if (problem === undefined) {
    console.log("Unpacking the browser for the tests (once) ...");
    await ensureBrowserKit();
  } else console.log(`Browser tests will be skipped: ${problem}.`);

  console.log(`Default model: ${await shown("Default model", defaultModelPath)}`);
  console.log(`Encoder: ${await shown("Encoder", encoderModelPath)}`);
} catch (thrown) {
  const error = SkeinError.from(thrown);
  console.error(error.message);
  process.exitCode = OUTSIDE[error.code].exit || EXIT.failed;
}

/** Fetches with a line for each stage and now and then, or one that moves on a terminal. */
async function shown(name: string, fetch: (onProgress: OnProgress) => Promise<string>): Promise<string> {
  let lastStage = "";
  let lastLog = -Infinity;
  const path = await fetch((progress) => {
    const now = performance.now();
    if (!terminal && progress.stage === lastStage && now - lastLog < logIntervalMs) return;
    lastStage = progress.stage;
    lastLog = now;
    const line = `${name} ${describeProgress(progress)}`;
    if (terminal) process.stdout.write(`\r${line}\x1b[K`);
    else console.log(line);
  });
  if (terminal && lastStage !== "") process.stdout.write("\n");
  return path;
}
