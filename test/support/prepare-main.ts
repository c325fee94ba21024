/** Fetches what the tests need and no test should wait for: the packed browser and the default model. Prints each stage. */
import { EXIT, OUTSIDE, SkeinError } from "../../protocol/errors.ts";
import { describeProgress } from "../../worker/models/progress.ts";
import { browserKitProblem, ensureBrowserKit } from "./browser-kit.ts";
import { defaultModelPath } from "./default-model.ts";

const terminal = process.stdout.isTTY;
const logIntervalMs = 5_000;

try {
  const problem = browserKitProblem();
  if (problem === undefined) {
    console.log("Unpacking the browser for the tests (once) ...");
    await ensureBrowserKit();
  } else console.log(`Browser tests will be skipped: ${problem}.`);

  let lastStage = "";
  let lastLog = -Infinity;
  const path = await defaultModelPath((progress) => {
    const now = performance.now();
    if (!terminal && progress.stage === lastStage && now - lastLog < logIntervalMs) return;
    lastStage = progress.stage;
    lastLog = now;
    const line = `Default model ${describeProgress(progress)}`;
    if (terminal) process.stdout.write(`\r${line}\x1b[K`);
    else console.log(line);
  });
  if (terminal && lastStage !== "") process.stdout.write("\n");
  console.log(`Default model: ${path}`);
} catch (thrown) {
  const error = SkeinError.from(thrown);
  console.error(error.message);
  process.exitCode = OUTSIDE[error.code].exit || EXIT.failed;
}
