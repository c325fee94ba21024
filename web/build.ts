/**
 * Builds the worker page with esbuild: `index.html` and, in a folder named after the sources' fingerprint, what it loads (so that a browser may
 * keep it for ever). Made in half a second when it is first asked for; made again when a source has changed.
 */
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, type Metafile } from "esbuild";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const FOLDERS = ["protocol", "serve", "engine", "llm", "worker", "web"];
const ENTRIES = {
  page: "web/worker/page-main.ts",
  agent: "worker/browser/agent-main.ts",
  replica: "worker/browser/replica-main.ts",
  engine: "engine/thread-web-main.ts",
  team: "engine/team-web-main.ts",
  "grammar-check": "engine/grammar-check-web-main.ts",
};
/** Built pages that are kept: a running coordinator may still serve an older one. */
const KEPT = 3;
/** ONNX Runtime's glue and WebAssembly: plain for graphs on `wasm`, jspi and asyncify for `webgpu`. */
const ORT_FILES = /^ort-wasm-simd-threaded(\.jspi|\.asyncify)?\.(mjs|wasm)$/;

/** Folder of the built page below `out`, made if need be. `now`: ms since 1970. */
export async function buildWorkerPage(now: number, out = join(ROOT, "dist", "web")): Promise<string> {
  const folder = join(out, fingerprint());
  if (existsSync(folder)) utimesSync(folder, now / 1000, now / 1000);
  else await make(folder);
  forgetOld(out);
  return folder;
}

/** Bundles into `folder`, which appears whole or not at all. Resolves with what went into the bundles. */
async function make(folder: string): Promise<void> {
  const making = `${folder}.partial-${process.pid}`;
  const name = basename(folder);
  mkdirSync(join(making, name, "ort"), { recursive: true });
  try {
    await bundle(join(making, name));
    const page = join(ROOT, "web", "worker");
    copyFileSync(join(page, "page.css"), join(making, name, "page.css"));
    writeFileSync(
      join(making, "index.html"),
      readFileSync(join(page, "index.html"), "utf8").replaceAll("%FOLDER%", name),
    );
    const ort = dirname(fileURLToPath(import.meta.resolve("onnxruntime-web/ort-wasm-simd-threaded.mjs")));
    for (const file of readdirSync(ort))
      if (ORT_FILES.test(file)) linkOrCopy(join(ort, file), join(making, name, "ort", file));
    // As it is: loaded when the first grammar is wanted, and not for a bundler (it names a module of Node's).
    linkOrCopy(fileURLToPath(import.meta.resolve("@mlc-ai/web-xgrammar")), join(making, name, "xgrammar.js"));
    renameSync(making, folder);
  } catch (error) {
    rmSync(making, { recursive: true, force: true });
    // Another process was quicker.
    if (!existsSync(folder)) throw error;
  }
}

/** The page's scripts; what went into them is for a test that looks for Node's modules. */
export async function bundle(
  outdir: string,
  entryPoints: Readonly<Record<string, string>> = ENTRIES,
): Promise<Metafile> {
  const { metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints,
    outdir,
    bundle: true,
    metafile: true,
    minify: true,
    keepNames: true,
    format: "esm",
    platform: "browser",
    target: "es2024",
    logLevel: "silent",
    // ONNX Runtime's own option: its glue code is fetched from `ort/` instead of being bundled.
    conditions: ["onnxruntime-web-use-extern-wasm"],
  });
  return metafile;
}

/** By time and size of every source, as cli/compiled.mjs does it. */
function fingerprint(): string {
  const hash = createHash("sha256").update(readFileSync(join(ROOT, "package-lock.json")));
  const files = FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(ts|html|css)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name)),
  ).sort();
  for (const file of files) {
    const { mtimeMs, size } = statSync(file);
    hash.update(`${file} ${mtimeMs} ${size}\n`);
  }
  return hash.digest("hex").slice(0, 16);
}

/** 60 MB that need not be there twice. */
function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to);
  }
}

function forgetOld(out: string): void {
  const built = readdirSync(out)
    .filter((name) => /^[0-9a-f]{16}$/.test(name))
    .map((name) => ({ path: join(out, name), time: statSync(join(out, name)).mtimeMs }))
    .sort((a, b) => b.time - a.time);
  for (const { path } of built.slice(KEPT)) rmSync(path, { recursive: true, force: true });
}
