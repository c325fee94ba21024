/** From `import_path` to a file and an export. */
import { existsSync, statSync } from "node:fs";
import { relative, resolve } from "node:path";
import { importPath } from "../../../protocol/config.ts";
import { SkeinError } from "../../../protocol/errors.ts";

const EXTENSIONS = [".ts", ".mts", ".tsx", ".js", ".mjs"];

export interface Located {
  /** The file, or the module's name where it is one of the runtime's own (`skein/llm:openai`). */
  readonly entry: string;
  /** How errors name the entry. */
  readonly shown: string;
  readonly exportName: string;
  /** The module as the user named it. */
  readonly module: string;
}

/**
 * `skein/llm:openai` (an application that comes with the runtime, from any folder), `module.sub:export`, `module.sub.export` (dots are folders, as in Python), or `./path/file:export`.
 * Throws `INVALID_ARGUMENT` for a malformed path, `NOT_FOUND` naming the files that were looked for.
 */
export function locate(appDir: string, path: string, runtime: Readonly<Record<string, unknown>> = {}): Located {
  const checked = importPath.safeParse(path);
  if (!checked.success)
    throw new SkeinError("INVALID_ARGUMENT", checked.error.issues[0]?.message ?? "The import path is not valid.");
  const split = path.includes(":") ? path.lastIndexOf(":") : path.lastIndexOf(".");
  const module = path.slice(0, split);
  const exportName = path.slice(split + 1);
  if (Object.hasOwn(runtime, module)) return { entry: module, shown: module, exportName, module };
  const bases =
    module.includes("/") || EXTENSIONS.some((extension) => module.endsWith(extension))
      ? [module]
      : [module.replaceAll(".", "/"), module];
  const looked: string[] = [];
  for (const base of bases)
    for (const candidate of [
      ...(/\.[a-z]+$/.test(base) ? [base] : []),
      ...EXTENSIONS.map((e) => base + e),
      ...EXTENSIONS.map((e) => `${base}/index${e}`),
    ]) {
      const file = resolve(appDir, candidate);
      if (existsSync(file) && statSync(file).isFile())
        return { entry: file, shown: relative(appDir, file), exportName, module };
      if (!candidate.includes("/index.")) looked.push(relative(appDir, file));
    }
  if (!existsSync(appDir)) throw new SkeinError("NOT_FOUND", `The application's folder ${appDir} does not exist.`);
  throw new SkeinError(
    "NOT_FOUND",
    `No module named '${module}' in ${appDir} (looked for ${looked.slice(0, 5).join(", ")}). Name a file there, or the folder with --app-dir.`,
  );
}
