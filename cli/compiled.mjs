/**
 * Runs the command from compiled programs: the TypeScript sources, bundled by esbuild into `dist/<hash>/` whenever they have changed.
 * Sources run as they are too, but a mesh is five processes, and each would parse some 300 files: compiled ones start three times
 * faster in half the memory. Without esbuild (or a writable folder) the sources are run.
 *
 * Every `new URL("<file>.ts", import.meta.url)` in the sources names a program: it is an entry of the bundle, and the URL is replaced by
 * that of its compiled file. What else asks for `import.meta.url` gets that of its source file, so that paths stay what they are.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, existsSync, utimesSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { root } from "./pinned-node.mjs";

const FOLDERS = ["protocol", "serve", "engine", "llm", "coordinator", "ingress", "worker", "web", "cli"];
const MAIN = "cli/main.ts";
const PROGRAM = /new URL\(\s*"([^"]+\.ts)",\s*import\.meta\.url,?\s*\)/g;
/** Parts with files of their own that a bundle would lose, or that are loaded on a thread by path. */
const EXTERNAL = [
  "@mlc-ai/web-xgrammar",
  "esbuild",
  "onnxruntime-node",
  "onnxruntime-web",
  "onnxruntime-web/*",
  "pino",
  "protobufjs",
  "puppeteer",
  "webgpu",
];
/** Compiled trees that are kept: a process may still load parts of an older one. */
const KEPT = 3;

/** Path of the compiled command, made if need be; undefined when it can't be: then the sources are run. */
async function compiledCommand() {
  try {
    const sources = listSources();
    const folder = join(root, "dist", fingerprint(sources));
    const main = compiledPath(folder, MAIN);
    if (!existsSync(main)) await compile(sources, folder);
    return main;
  } catch (error) {
    if (process.env.SKEIN_DEBUG) console.error(error);
    return undefined;
  }
}

/** By time and size of every source: 300 files are looked at in some 10 ms. */
function fingerprint(sources) {
  const hash = createHash("sha256").update(readFileSync(join(root, "package-lock.json")));
  for (const file of sources) {
    const { mtimeMs, size } = statSync(join(root, file));
    hash.update(`${file} ${mtimeMs} ${size}\n`);
  }
  return hash.digest("hex").slice(0, 16);
}

function listSources() {
  const sources = [];
  for (const folder of FOLDERS) {
    for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
      if (entry.isFile() && entry.name.endsWith(".ts"))
        sources.push(join(relative(root, entry.parentPath), entry.name));
    }
  }
  return sources.sort();
}

const compiledPath = (folder, source) => join(folder, source.replace(/\.ts$/, ".mjs"));

async function compile(sources, folder) {
  const { build, stop } = await import("esbuild");
  const entries = new Set([MAIN]);
  for (const source of sources) {
    for (const [, target] of readFileSync(join(root, source), "utf8").matchAll(PROGRAM)) {
      const file = relative(root, resolve(root, dirname(source), target));
      if (existsSync(join(root, file))) entries.add(file);
    }
  }
  const making = `${folder}.${process.pid}`;
  mkdirSync(making, { recursive: true });
  try {
    await build({
      absWorkingDir: root,
      entryPoints: [...entries],
      outdir: making,
      outbase: root,
      outExtension: { ".js": ".mjs" },
      bundle: true,
      splitting: true,
      format: "esm",
      platform: "node",
      target: "node24",
      sourcemap: true,
      sourcesContent: false,
      // A program's text stays in its process's memory. Names stay as they are: stack traces are read.
      minifyWhitespace: true,
      minifySyntax: true,
      logLevel: "silent",
      external: EXTERNAL,
      banner: {
        js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
      },
      plugins: [
        {
          name: "programs",
          setup: (plugin) => plugin.onLoad({ filter: /\.ts$/ }, ({ path }) => loadSource(path, folder)),
        },
        lightHttp,
      ],
    });
    renameSync(making, folder);
  } catch (error) {
    rmSync(making, { recursive: true, force: true });
    // Another process was quicker.
    if (!existsSync(compiledPath(folder, MAIN))) throw error;
  } finally {
    // Its process would stay for as long as the command, with 100 MB.
    await stop();
  }
  forgetOld(folder);
}

/**
 * `import ... from "node:http"` reads every export of that module, among them fetch's classes, which loads all of undici: 30 ms and 10 MB
 * in every process for nothing. The module as `require` gives it reads them when they are asked for.
 */
const lightHttp = {
  name: "light-http",
  setup(plugin) {
    plugin.onResolve({ filter: /^(node:)?http$/ }, ({ kind }) =>
      kind === "import-statement" ? { path: "http", namespace: "light-http" } : undefined,
    );
    plugin.onLoad({ filter: /.*/, namespace: "light-http" }, () => ({
      contents: 'module.exports = process.getBuiltinModule("node:http");',
    }));
  },
};

function loadSource(path, folder) {
  if (path.includes("node_modules")) return undefined;
  const contents = readFileSync(path, "utf8")
    .replace(PROGRAM, (whole, target) => {
      const file = relative(root, resolve(dirname(path), target));
      return existsSync(join(root, file))
        ? `new URL(${JSON.stringify(pathToFileURL(compiledPath(folder, file)).href)})`
        : whole;
    })
    .replaceAll("import.meta.url", JSON.stringify(pathToFileURL(path).href));
  return { contents, loader: "ts" };
}

function forgetOld(current) {
  const dist = dirname(current);
  utimesSync(current, new Date(), new Date());
  const trees = readdirSync(dist)
    .filter((name) => /^[0-9a-f]{16}$/.test(name))
    .map((name) => ({ path: join(dist, name), age: statSync(join(dist, name)).mtimeMs }))
    .sort((a, b) => b.age - a.age);
  for (const { path } of trees.slice(KEPT)) rmSync(path, { recursive: true, force: true });
}

const compiled = await compiledCommand();
if (compiled !== undefined) {
  // V8's code is kept beside the programs, for this process and for those that it starts.
  process.env.NODE_COMPILE_CACHE ??= join(dirname(dirname(compiled)), "compile-cache");
  enableCompileCache(process.env.NODE_COMPILE_CACHE);
}
const command = compiled ?? join(root, MAIN);
process.argv[1] = command;
await import(pathToFileURL(command).href);
