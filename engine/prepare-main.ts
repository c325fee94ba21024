/**
 * A small program that prepares a checkpoint, so that a worker agent can do it in a child: it takes seconds of one core.
 *
 *   prepare-main.ts --gguf FILE --target native|wasm|webgpu --cache DIR [--slot-length TOKENS]
 *
 * Progress as JSON lines on stdout, at most one per percent: {"stage": "hash" | "convert", "done": bytes, "total": bytes}; the last
 * line is {"prepared": DIR}. Errors: one line on stderr and exit code 1; wrong arguments: 2.
 */
import { parseArgs } from "node:util";
import { type CacheProgress, prepareCached } from "./node/prepared-cache.ts";
import { TARGETS } from "./onnx/target.ts";

const USAGE = `usage: prepare-main.ts --gguf FILE --target ${TARGETS.join("|")} --cache DIR [--slot-length TOKENS]`;

function readArguments(): Parameters<typeof prepareCached>[0] {
  const { values } = parseArgs({
    options: {
      gguf: { type: "string" },
      target: { type: "string" },
      cache: { type: "string" },
      "slot-length": { type: "string" },
    },
  });
  const target = TARGETS.find((name) => name === values.target);
  if (!values.gguf || !values.cache || target === undefined) throw new Error("an argument is missing or wrong");
  const { "slot-length": given } = values;
  const slotLength = given === undefined ? undefined : Number(given);
  if (slotLength !== undefined && !(Number.isInteger(slotLength) && slotLength > 0))
    throw new Error("--slot-length must be a whole number above 0");
  const options = { file: values.gguf, target, cache: values.cache, now: Date.now() };
  return slotLength === undefined ? options : { ...options, slotLength };
}

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

/** Lets one line per percent and stage through. */
function everyPercent(report: (progress: CacheProgress) => void): (progress: CacheProgress) => void {
  let last = "";
  return (progress) => {
    const step = `${progress.stage} ${Math.floor((100 * progress.done) / progress.total)}`;
    if (step !== last) report(progress);
    last = step;
  };
}

let options: Parameters<typeof prepareCached>[0] | undefined;
try {
  options = readArguments();
} catch (error) {
  console.error(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  process.exitCode = 2;
}
if (options) {
  try {
    say({ prepared: await prepareCached({ ...options, onProgress: everyPercent(say) }) });
  } catch (error) {
    console.error(`can't prepare ${options.file}: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
