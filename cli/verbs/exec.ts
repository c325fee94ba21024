/** `skein exec <script>`: runs a script that uses a mesh (`run`, `status`, `getAppHandle`, …) until it has nothing left to do, as Node would. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { EXIT, SkeinError } from "../../protocol/errors.ts";
import { runtime } from "../../serve/runtime.ts";
import { connect, type AddressOptions } from "../connect.ts";
import { CommandFailed, Interrupted } from "../failure.ts";
import { Progress } from "../progress.ts";
import { ScriptModules } from "../script/modules.ts";
import { scriptOperator } from "../script/operator.ts";
import type { Shell } from "../shell.ts";

/** Errors: 4 no such file, 1 what the script throws (told with its stack), 130 interrupted. The script may set an exit code of its own. */
export async function exec(
  file: string,
  args: readonly string[],
  flags: AddressOptions,
  shell: Shell,
): Promise<number> {
  const path = resolve(shell.cwd, file);
  if (!existsSync(path)) throw new CommandFailed(EXIT.notFound, `There is no such file: ${path}.`);
  process.argv.splice(1, process.argv.length, path, ...args);
  withoutTypeWarning();
  const modules = new ScriptModules(path);
  // The script's output is its own: progress is not shown.
  const quiet = { ...shell, progress: new Progress(() => {}, false, shell.now) };
  runtime().operator = scriptOperator(() => connect(flags, shell), modules, quiet);
  const interrupted = new Promise<never>((_, reject) =>
    shell.stop.addEventListener("abort", () => reject(new Interrupted()), { once: true }),
  );
  const idle = new Promise<void>((done) => process.once("beforeExit", () => done()));
  try {
    await Promise.race([modules.run(), interrupted]);
    await Promise.race([idle, interrupted]);
  } catch (error) {
    if (error instanceof CommandFailed || error instanceof SkeinError || !(error instanceof Error)) throw error;
    shell.note(error.stack ?? error.message);
    return EXIT.failed;
  }
  return Number(process.exitCode ?? EXIT.ok);
}

/** A script may lie in any folder, also in one whose package.json says no type: that Node found out by itself is no news to a person. */
function withoutTypeWarning(): void {
  const emit = process.emitWarning.bind(process) as (warning: string | Error, ...rest: unknown[]) => void;
  process.emitWarning = (warning: string | Error, ...rest: unknown[]): void => {
    const [options] = rest as [{ code?: string } | undefined];
    if (options?.code !== "MODULE_TYPELESS_PACKAGE_JSON") emit(warning, ...rest);
  };
}
