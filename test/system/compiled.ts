/** The compiled programs (cli/compiled.mjs): a mesh of them starts three times faster, in half the memory, than one of sources. */
import { execFile } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PRINT_COMMAND = `data:text/javascript,process.on("exit", () => console.log("\\n" + process.argv[1]))`;

let folder: Promise<string> | null = null;

/** The folder with the programs of the sources as they are now, made if need be. */
export function compiledPrograms(): Promise<string> {
  folder ??= promisify(execFile)(process.execPath, [
    "--import",
    PRINT_COMMAND,
    join(ROOT, "cli/compiled.mjs"),
    "--help",
  ]).then(({ stdout }) => {
    const command = stdout.trimEnd().split("\n").at(-1) ?? "";
    if (!command.endsWith("cli/main.mjs"))
      throw new Error(`cli/compiled.mjs ran ${command}: the sources were not compiled. SKEIN_DEBUG=1 says why.`);
    return dirname(dirname(command));
  });
  return folder;
}
