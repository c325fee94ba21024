/**
 * Chromium and SwiftShader for tests on a machine that has neither: unpacks the npm package `@sparticuz/chromium` once
 * into `.cache/browser-kit/` of this checkout. Knows files and environment variables; knows nothing of pages or tests.
 *
 * The package's own `executablePath()` and `args` are for serverless hosts (shared temporary folder, WebGPU off): not used.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { access, chmod, mkdir, readFile, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { createBrotliDecompress } from "node:zlib";
import { extract } from "tar-fs";

const REPOSITORY = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const PACKAGE = join(REPOSITORY, "node_modules", "@sparticuz", "chromium");
const CACHE = join(REPOSITORY, ".cache", "browser-kit");

/** Folders that the archives are unpacked into, below the kit's folder. */
const ARCHIVES = { al2023: "al2023", fonts: "fonts", swiftshader: "swiftshader" } as const;
const SWIFTSHADER_FILES = [
  "libEGL.so",
  "libGLESv2.so",
  "libvk_swiftshader.so",
  "libvulkan.so.1",
  "vk_swiftshader_icd.json",
];

/** Rises when what is unpacked changes, so that an older kit isn't taken for a whole one. */
const LAYOUT = 3;
/** The package's own file names folders of a serverless host: a page would have no letters. */
const fontsConf = (kit: string): string => `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><dir>/usr/share/fonts</dir><cachedir>${join(kit, ARCHIVES.fonts, "cache")}</cachedir></fontconfig>
`;

let unpacked: Promise<string> | undefined;

/** Why this machine can't use the kit, or undefined when it can. For the reason of a skipped test. */
export function browserKitProblem(): string | undefined {
  if (process.platform === "linux" && process.arch === "x64") return undefined;
  return `the packed Chromium is for linux-x64 only, this is ${process.platform}-${process.arch}`;
}

/** Unpacks the kit if need be (about 3 s, 220 MB) and returns its folder. Safe when several processes do it at once. */
export function ensureBrowserKit(): Promise<string> {
  unpacked ??= unpackOnce();
  return unpacked;
}

/** Chromium may take this long to start, ms: on busy cores, from a slow disk. It only catches what hangs. */
const STARTED_WITHIN_MS = 120_000;

/** What puppeteer launches. */
export async function chromiumOptions() {
  return {
    executablePath: await chromiumExecutable(),
    env: await chromiumEnv(),
    args: chromiumArgs(),
    timeout: STARTED_WITHIN_MS,
  };
}

/** Path of a Chromium that runs with `chromiumEnv()`. */
export async function chromiumExecutable(): Promise<string> {
  return join(await ensureBrowserKit(), "chromium");
}

/** Environment for Chromium: this process's own plus the kit's libraries and fonts. */
export async function chromiumEnv(): Promise<Record<string, string>> {
  const kit = await ensureBrowserKit();
  return {
    ...inherited(),
    LD_LIBRARY_PATH: join(kit, ARCHIVES.al2023, "lib"),
    FONTCONFIG_PATH: join(kit, ARCHIVES.fonts),
  };
}

/** Flags for a headless Chromium with WebGPU on SwiftShader. No sandbox: CI runs as root, and only our own pages load. */
function chromiumArgs(): string[] {
  return ["--no-sandbox", "--enable-unsafe-webgpu"];
}

/**
 * Environment in which Dawn (`webgpu` package) and native WebGPU find SwiftShader: this process's own plus the Vulkan loader's.
 * The loader reads it at start, so it must be given to a child process; setting it in `process.env` is too late.
 */
export async function swiftshaderEnv(): Promise<Record<string, string>> {
  const folder = join(await ensureBrowserKit(), ARCHIVES.swiftshader);
  return { ...inherited(), LD_LIBRARY_PATH: folder, VK_ICD_FILENAMES: join(folder, "vk_swiftshader_icd.json") };
}

function inherited(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

async function unpackOnce(): Promise<string> {
  const problem = browserKitProblem();
  if (problem !== undefined) throw new Error(`no browser kit: ${problem}`);
  const { version } = JSON.parse(await readFile(join(PACKAGE, "package.json"), "utf8")) as { version: string };
  const kit = join(CACHE, `${version}-${LAYOUT}`);
  if (await exists(join(kit, "complete"))) return kit;

  await mkdir(CACHE, { recursive: true });
  await removeAbandoned();
  const partial = join(CACHE, `partial-${process.pid}`);
  await mkdir(partial);
  try {
    await Promise.all([
      inflate("chromium.br", createWriteStream(join(partial, "chromium"))),
      ...Object.entries(ARCHIVES).map(([archive, folder]) =>
        inflate(`${archive}.tar.br`, extract(join(partial, folder))),
      ),
    ]);
    await chmod(join(partial, "chromium"), 0o755);
    await writeFile(join(partial, ARCHIVES.fonts, "fonts.conf"), fontsConf(kit));
    // Chromium looks for SwiftShader beside its own executable.
    for (const file of SWIFTSHADER_FILES) await symlink(join(ARCHIVES.swiftshader, file), join(partial, file));
    await writeFile(join(partial, "complete"), "");
    await rename(partial, kit).catch(async (error: NodeJS.ErrnoException) => {
      // Another process was first: its kit is as good as ours.
      if (!(await exists(join(kit, "complete")))) throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return kit;
}

/** A process killed while unpacking leaves 220 MB behind; whoever unpacks next takes it away. */
async function removeAbandoned(): Promise<void> {
  for (const name of await readdir(CACHE)) {
    const pid = /^partial-(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && (Number(pid) === process.pid || !isAlive(Number(pid)))) {
      await rm(join(CACHE, name), { recursive: true, force: true });
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function inflate(name: string, target: NodeJS.WritableStream): Promise<void> {
  return pipeline(createReadStream(join(PACKAGE, "bin", name)), createBrotliDecompress(), target);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
