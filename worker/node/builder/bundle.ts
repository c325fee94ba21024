/**
 * Bundles of an application: one for Node, one for browsers where nothing needs Node. `skein` and `skein/*` are not bundled: they are read from
 * the runtime's registry, so that user files may lie anywhere, without package.json or node_modules.
 */
import { isBuiltin } from "node:module";
import { resolve } from "node:path";
import { build, type BuildFailure, type BuildResult, type Message, type Plugin } from "esbuild";
import { SkeinError } from "../../../protocol/errors.ts";
import { sourceError, type Place } from "./source-error.ts";

/** Exported names by module name, as bundles may import them. */
export type RuntimeExports = Readonly<Record<string, readonly string[]>>;

export interface Bundles {
  readonly node: Uint8Array;
  readonly browser: Uint8Array | null;
  readonly browserReason: string | undefined;
  /** Files that were read, absolute. */
  readonly inputs: readonly string[];
  readonly importsModels: boolean;
}

const RUNTIME_NAMESPACE = "skein-runtime";
const NATIVE_ADVICE = "Native add-ons can't be shipped to workers: use a package that is JavaScript or WebAssembly.";

/** Throws `INVALID_ARGUMENT` with place and advice for the first error in user code. */
export async function bundle(appDir: string, entry: string, runtime: RuntimeExports): Promise<Bundles> {
  const node = await bundleFor("node", appDir, entry, runtime, false).catch((error: unknown) => {
    throw explain(error);
  });
  const needsRequire = Object.values(node.metafile.inputs).some((input) => input.format === "cjs");
  const whole = needsRequire ? await bundleFor("node", appDir, entry, runtime, true) : node;
  const dynamic = whole.warnings.find(
    (w) => w.id === "unsupported-dynamic-import" && !/node_modules/.test(w.location?.file ?? ""),
  );
  if (dynamic !== undefined)
    throw sourceError(
      "This import() can't be bundled: its argument is not a string.",
      placeOf(dynamic),
      "Workers have only what is in the bundle: import modules by name.",
    );
  let browser: Uint8Array | null = null;
  let browserReason: string | undefined;
  try {
    browser = (await bundleFor("browser", appDir, entry, runtime, false)).outputFiles[0]!.contents;
  } catch (error) {
    browserReason = explain(error).message.split("\n")[0];
  }
  const names = Object.keys(whole.metafile.inputs);
  return {
    node: whole.outputFiles[0]!.contents,
    browser,
    browserReason,
    inputs: names.filter((name) => !name.startsWith(`${RUNTIME_NAMESPACE}:`)).map((name) => resolve(appDir, name)),
    importsModels: ["skein/llm", "skein/onnx"].some((name) => names.includes(`${RUNTIME_NAMESPACE}:${name}`)),
  };
}

type Output = BuildResult<{ metafile: true; write: false }>;

function bundleFor(
  platform: "node" | "browser",
  appDir: string,
  entry: string,
  runtime: RuntimeExports,
  needsRequire: boolean,
): Promise<Output> {
  return build({
    absWorkingDir: appDir,
    entryPoints: [entry],
    outfile: "bundle.mjs",
    bundle: true,
    write: false,
    metafile: true,
    format: "esm",
    platform,
    // Decorators are lowered; everything else both platforms have.
    target: platform === "node" ? "node24" : "es2024",
    keepNames: true,
    // Line numbers in errors, without shipping the sources.
    sourcemap: "inline",
    sourcesContent: false,
    legalComments: "none",
    logLevel: "silent",
    logOverride: { "unsupported-dynamic-import": "warning" },
    ...(needsRequire
      ? {
          banner: {
            js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
          },
        }
      : {}),
    plugins: [runtimeModules(runtime), ...(platform === "browser" ? [noNode] : [])],
  });
}

function runtimeModules(runtime: RuntimeExports): Plugin {
  return {
    name: "skein-runtime",
    setup: ({ onResolve, onLoad }) => {
      onResolve({ filter: /^skein(\/.*)?$/ }, ({ path }) =>
        runtime[path] === undefined
          ? {
              errors: [
                {
                  text: `There is no module "${path}". Known are ${Object.keys(runtime)
                    .map((m) => `"${m}"`)
                    .join(", ")}.`,
                },
              ],
            }
          : { path, namespace: RUNTIME_NAMESPACE },
      );
      onResolve({ filter: /\.node$/ }, ({ path }) => ({ errors: [{ text: `"${path}" is a native add-on.` }] }));
      onLoad({ filter: /.*/, namespace: RUNTIME_NAMESPACE }, ({ path }) => ({
        contents: `const m = globalThis[Symbol.for("skein.runtime.1")].modules[${JSON.stringify(path)}];\n${runtime[path]!.map((name, i) => `const e${i} = m.${name};\nexport { e${i} as ${name} };`).join("\n")}`,
        loader: "js",
      }));
    },
  };
}

const noNode: Plugin = {
  name: "no-node",
  setup: ({ onResolve }) =>
    void onResolve({ filter: /^[a-z@]/ }, ({ path }) =>
      isBuiltin(path) ? { errors: [{ text: `It imports "${path}", which browsers don't have.` }] } : undefined,
    ),
};

function explain(error: unknown): SkeinError {
  const first = (error as Partial<BuildFailure>).errors?.[0];
  if (first === undefined) return SkeinError.from(error);
  const missing = /^Could not resolve "(.*)"/.exec(first.text)?.[1];
  if (missing !== undefined) {
    const advice = /^[./]/.test(missing)
      ? "Check the path; it is relative to the file that imports it."
      : `Install it where the application is: npm install ${missing}`;
    return sourceError(`Cannot find module "${missing}".`, placeOf(first), advice);
  }
  if (first.text.endsWith("is a native add-on.") || first.text.includes('No loader is configured for ".node"'))
    return sourceError(first.text, placeOf(first), NATIVE_ADVICE);
  return sourceError(first.text.replaceAll(`${RUNTIME_NAMESPACE}:`, ""), placeOf(first), first.notes[0]?.text);
}

function placeOf(message: Message): Place | undefined {
  const location = message.location;
  return location === null
    ? undefined
    : {
        file: location.file,
        line: location.line,
        column: location.column + 1,
        text: location.lineText,
        length: location.length,
      };
}
