/** Measures what `skein doctor` judges. Native code (add-ons, GPU drivers) is tried in a child process: it may crash. */
import { execFile } from "node:child_process";
import { access, constants, mkdir, readdir, stat, statfs } from "node:fs/promises";
import { availableParallelism, totalmem } from "node:os";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { portTrouble } from "../mesh/ports.ts";
import { DASHBOARD_PORT, HTTP_PORT, MESH_PORT } from "../mesh/options.ts";
import type { Facts } from "./checks.ts";
import { ENGINE_ENVIRONMENT } from "../../worker/node/engine-environment.ts";

/** A GPU driver that hangs is a finding, ms. */
const PROBE_WITHIN_MS = 20_000;
const OUTPUT_MAX = 64 * 1024;

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Each prints one JSON line. */
const PROBES = {
  native: `await import("onnxruntime-node"); console.log("{}")`,
  wasm: `await import("onnxruntime-web"); console.log("{}")`,
  webgpu: `const { create, globals } = await import("webgpu"); Object.assign(globalThis, globals); const gpu = create([]);
    const found = []; for (const forceFallbackAdapter of [false, true]) { const a = await gpu.requestAdapter({ forceFallbackAdapter }).catch(() => null);
    if (a) found.push({ name: [a.info.vendor, a.info.architecture, a.info.description].filter(Boolean).join(" ") || "unnamed", software: a.info.isFallbackAdapter === true || /swiftshader|llvmpipe|lavapipe/i.test(a.info.description + a.info.architecture) }); }
    console.log(JSON.stringify(found)); process.exit(0)`,
} as const;

/** `mesh`: address of the mesh that answers here, if any. `env`: what the drivers may need. */
export async function probe(
  dataDir: string,
  mesh: string | null,
  env: NodeJS.ProcessEnv,
  stop: AbortSignal,
): Promise<Facts> {
  const command = (file: string, args: readonly string[]): Promise<Outcome> => run(file, args, env, stop);
  const inChild = (code: string): Promise<Outcome> =>
    command(process.execPath, ["--input-type=module", "--eval", code]);
  const [native, wasm, webgpu, pip, disk, dataDirTrouble, dataDirUse, modelCached] = await Promise.all([
    inChild(PROBES.native),
    inChild(PROBES.wasm),
    inChild(PROBES.webgpu),
    command("python3", ["-m", "pip", "--version"]),
    nearestFolder(dataDir)
      .then((folder) => statfs(folder))
      .catch(() => null),
    writable(dataDir),
    bytesByFolder(dataDir),
    modelIn(dataDir),
  ]);
  const wanted = [
    { port: HTTP_PORT, purpose: "HTTP clients", option: "--http-port" },
    { port: DASHBOARD_PORT, purpose: "operators' API and status page", option: "--dashboard-port" },
    { port: MESH_PORT, purpose: "the mesh", option: "--mesh-port" },
    { port: 9000, purpose: "gRPC clients, if configured", option: "grpc_options.port" },
  ];
  const ports = await Promise.all(
    wanted.map(async (one) => ({ ...one, trouble: await portTrouble("127.0.0.1", one.port) })),
  );
  const adapters = "output" in webgpu ? (JSON.parse(webgpu.output) as { name: string; software: boolean }[]) : [];
  return {
    node: process.versions.node,
    threads: availableParallelism(),
    memoryBytes: totalmem(),
    dataDir,
    diskFreeBytes: disk === null ? null : disk.bavail * disk.bsize,
    dataDirTrouble,
    dataDirUse,
    modelCached,
    pip:
      "output" in pip
        ? { version: pip.output }
        : { trouble: "install Python 3 with pip (Debian: apt-get install python3-pip)." },
    providers: { native: troubleOf(native), wasm: troubleOf(wasm), webgpu: troubleOf(webgpu) },
    adapters: adapters.filter((a, i) => adapters.findIndex((b) => b.name === a.name) === i),
    ports,
    mesh,
  };
}

type Outcome = { readonly output: string } | { readonly trouble: string };
const troubleOf = (outcome: Outcome): string | null => ("trouble" in outcome ? outcome.trouble : null);

function run(file: string, args: readonly string[], env: NodeJS.ProcessEnv, stop: AbortSignal): Promise<Outcome> {
  const options = {
    cwd: ROOT,
    timeout: PROBE_WITHIN_MS,
    killSignal: "SIGKILL",
    maxBuffer: OUTPUT_MAX,
    signal: stop,
    env: { ...env, ...ENGINE_ENVIRONMENT },
  } as const;
  return new Promise((resolve) => {
    execFile(file, [...args], options, (error, stdout, stderr) => {
      if (error === null) resolve({ output: stdout.trim() });
      else
        resolve({
          trouble:
            error.killed === true
              ? `no answer within ${PROBE_WITHIN_MS / 1000} s`
              : (reason(stderr) ?? error.signal ?? error.message.split("\n")[0] ?? "failed"),
        });
    });
  });
}

const reason = (stderr: string): string | undefined => /^(?:\w*Error(?: \[\w+\])?: )(.+)$/m.exec(stderr)?.[1];

async function writable(folder: string): Promise<string | null> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await access(folder, constants.W_OK);
    return null;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

async function nearestFolder(folder: string): Promise<string> {
  for (let at = folder; ; at = dirname(at)) {
    const there = await access(at).then(
      () => true,
      () => false,
    );
    if (there || dirname(at) === at) return at;
  }
}

async function bytesByFolder(dataDir: string): Promise<Record<string, number>> {
  const use: Record<string, number> = {};
  const entries = await readdir(dataDir, { recursive: true, withFileTypes: true }).catch(() => []);
  for (const entry of entries.filter((one) => one.isFile())) {
    const path = join(entry.parentPath, entry.name);
    const [folder = ""] = relative(dataDir, path).split(sep);
    const { size } = await stat(path).catch(() => ({ size: 0 }));
    use[folder] = (use[folder] ?? 0) + size;
  }
  return use;
}

/** Some model file is in the cache: the catalogue has one. */
async function modelIn(dataDir: string): Promise<boolean> {
  const names = await readdir(join(dataDir, "models"), { recursive: true }).catch(() => []);
  return names.some((name) => name.endsWith(".gguf"));
}
