/**
 * Modules of a script: `skein` and `skein/*` are this installation's, wherever the script lies, and each module that was loaded is
 * remembered, because a mesh is told of an application by the module and export that it is.
 */
import { registerHooks } from "node:module";
import { basename, dirname, extname } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const OURS: Readonly<Record<string, URL>> = {
  skein: new URL("../../serve/index.ts", import.meta.url),
  "skein/llm": new URL("../../llm/index.ts", import.meta.url),
  "skein/onnx": new URL("../../llm/onnx/index.ts", import.meta.url),
};
/** What bundlers try, and Node doesn't. */
const ENDINGS = [".ts", ".mts", ".js", ".mjs", "/index.ts", "/index.js"];

export interface Exported {
  readonly folder: string;
  readonly importPath: string;
}

export class ScriptModules {
  readonly #script: string;
  readonly #loaded = new Set<string>();

  /** Every module that is imported from now on is the script's. */
  constructor(file: string) {
    this.#script = pathToFileURL(file).href;
    registerHooks({
      resolve: (specifier, context, next) => {
        const own = OURS[specifier];
        const found = own === undefined ? withEnding(specifier, (name) => next(name, context)) : { url: own.href };
        if (own === undefined && found.url.startsWith("file:") && !found.url.includes("/node_modules/"))
          this.#loaded.add(found.url);
        return own === undefined ? found : { ...found, shortCircuit: true };
      },
    });
  }

  /** Evaluates the script. Rejects with what it throws. */
  async run(): Promise<void> {
    await import(this.#script);
  }

  /** The export that `value` is; undefined: of no module but perhaps the script itself, which replicas must not run. */
  async exportOf(value: unknown): Promise<Exported | undefined> {
    for (const url of this.#loaded) {
      if (url === this.#script) continue;
      const name = nameIn((await import(url)) as Record<string, unknown>, value);
      if (name === undefined) continue;
      const file = fileURLToPath(url);
      return { folder: dirname(file), importPath: `./${basename(file, extname(file))}:${name}` };
    }
    return undefined;
  }
}

const nameIn = (module: Readonly<Record<string, unknown>>, value: unknown): string | undefined =>
  Object.keys(module).find((name) => module[name] === value);

function withEnding<T>(specifier: string, next: (specifier: string) => T): T {
  try {
    return next(specifier);
  } catch (error) {
    if (/^\.{0,2}\//.test(specifier))
      for (const ending of ENDINGS)
        try {
          return next(specifier + ending);
        } catch {
          // The first error is the one that names what was written.
        }
    throw error;
  }
}
