/**
 * Evaluates a Node bundle in this process, twice, and reads the bind graph off it: a graph that differs the second time would differ on every replica.
 */
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { SkeinError } from "../../../protocol/errors.ts";
import { applicationOf, graphOf, type Graph } from "../../../serve/graph.ts";
import type { Located } from "./locate.ts";
import { sourceError } from "./source-error.ts";

/** Throws `INVALID_ARGUMENT` with the place in user code where there is one. The runtime must be installed. */
export async function evaluate(
  appDir: string,
  located: Located,
  bundle: Uint8Array,
  args: Readonly<Record<string, unknown>>,
): Promise<Graph> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "skein-build-")));
  try {
    const [first, second] = [await once(1), await once(2)];
    if (first.hash !== second.hash)
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `NONDETERMINISTIC_GRAPH: '${located.module}:${located.exportName}' gives another application each time it is evaluated. Names, options and bound arguments must not depend on time or chance.`,
      );
    return first;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }

  async function once(turn: number): Promise<Graph> {
    const file = join(folder, `bundle-${turn}.mjs`);
    writeFileSync(file, bundle);
    let exports: Record<string, unknown>;
    try {
      exports = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
    } catch (error) {
      throw thrownBy(error, appDir, folder, "while it was imported");
    }
    if (!Object.hasOwn(exports, located.exportName)) {
      const names = Object.keys(exports);
      throw new SkeinError(
        "NOT_FOUND",
        `Module '${located.module}' has no export '${located.exportName}'. ${names.length === 0 ? "It exports nothing." : `It exports: ${names.join(", ")}.`}`,
      );
    }
    try {
      return await graphOf(await applicationOf(exports[located.exportName], args));
    } catch (error) {
      if (error instanceof SkeinError)
        throw new SkeinError(error.code, `${located.shown}: export '${located.exportName}': ${error.message}`);
      throw thrownBy(error, appDir, folder, "while the application was built");
    }
  }
}

/** What user code threw, with the first frame that is its own. */
function thrownBy(error: unknown, appDir: string, folder: string, when: string): SkeinError {
  if (!(error instanceof Error)) return new SkeinError("INVALID_ARGUMENT", `${String(error)} was thrown ${when}.`);
  const what = `${error.name}: ${error.message} (thrown ${when})`;
  for (const [, path, line, column] of (error.stack ?? "").matchAll(
    /(?:\(|at )(?:file:\/\/)?([^()\n]+?):(\d+):(\d+)\)?$/gm,
  )) {
    // The source map's paths are relative to the bundle, which was made for the application's folder.
    const file = path!.startsWith(folder) ? relative(folder, path!) : relative(appDir, path!);
    if (file.startsWith("..") || file.startsWith("node:") || file.startsWith("bundle-")) continue;
    try {
      const text = readFileSync(join(appDir, file), "utf8").split("\n")[Number(line) - 1] ?? "";
      return sourceError(what, { file, line: Number(line), column: Number(column), text, length: 1 });
    } catch {
      continue;
    }
  }
  return sourceError(what, undefined);
}
