/**
 * What this machine can do: processors, memory, providers, GPU. What must be tried (the native add-on, Dawn) is tried in children
 * and remembered on the disk, so that a worker never waits for it: it starts with what is likely and corrects itself.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, constants, release, setPriority, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Capabilities } from "../../protocol/control.ts";
import type { AgentOptions } from "../../protocol/local.ts";
import { ENGINE_ENVIRONMENT } from "./engine-environment.ts";
import { PROBE_LIFETIME_MS, PROBE_TIMEOUT_MS } from "./limits.ts";
import { driverEnvironment } from "./replica-environment.ts";

export interface GpuFound {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  readonly isSoftware: boolean;
}
/** What was found out by trying. */
export interface Probed {
  readonly native: boolean;
  readonly gpu: GpuFound | null;
}

const PROBE = fileURLToPath(new URL("./probe-main.ts", import.meta.url));
const require = createRequire(import.meta.url);

/** Without a probe: the add-on works where it is installed, and there is no GPU until one has been seen. */
export function likely(): Probed {
  return { native: nativeInstalled(), gpu: null };
}

function nativeInstalled(): boolean {
  try {
    const root = dirname(require.resolve("onnxruntime-node/package.json"));
    return ["napi-v6", "napi-v3"].some((api) =>
      existsSync(join(root, "bin", api, process.platform, process.arch, "onnxruntime_binding.node")),
    );
  } catch {
    return false;
  }
}

/** Capabilities as announced: the facts of this machine, within what options and `probed` allow. */
export function capabilitiesOf(
  options: Pick<AgentOptions, "name" | "cpus" | "gpus" | "resources" | "device" | "allowSoftwareGpu">,
  probed: Probed,
): Capabilities {
  const { device, allowSoftwareGpu } = options;
  const usable =
    probed.gpu !== null && (allowSoftwareGpu || !probed.gpu.isSoftware) && (device === "auto" || device === "webgpu");
  const providers = [usable ? "webgpu" : null, probed.native ? "native" : null, "wasm"].filter((name) => name !== null);
  return {
    cpus: options.cpus ?? availableParallelism(),
    gpus: options.gpus ?? (usable ? 1 : 0),
    memory: totalmem(),
    resources: { ...options.resources },
    kind: "node",
    providers: device === "auto" ? providers : providers.filter((name) => name === device),
    adapter: usable && probed.gpu !== null ? describe(probed.gpu) : null,
    platform: `${process.platform}-${process.arch}`,
    name: options.name,
  };
}

const describe = ({ description, vendor, architecture }: GpuFound): string =>
  description || [vendor, architecture].filter((part) => part !== "").join(" ") || "unnamed GPU";

/** The last probe under the same drivers and packages, while it is young enough. */
export function remembered(dataDir: string, environment: NodeJS.ProcessEnv, time: number): Probed | null {
  try {
    const stored = JSON.parse(readFileSync(cacheFile(dataDir), "utf8")) as {
      key: string;
      time: number;
      probed: Probed;
    };
    return stored.key === keyOf(environment) && time - stored.time < PROBE_LIFETIME_MS ? stored.probed : null;
  } catch {
    return null;
  }
}

/** Tries everything, each in a child of low priority, and remembers. Never rejects: what fails isn't there. */
export async function probe(dataDir: string, environment: NodeJS.ProcessEnv, time: number): Promise<Probed> {
  const native = (await tryIn<{ loads: boolean }>("native", environment))?.loads ?? false;
  const gpu = (await tryIn<{ adapter: GpuFound | null }>("webgpu", environment))?.adapter ?? null;
  const probed: Probed = { native, gpu };
  try {
    const file = cacheFile(dataDir);
    mkdirSync(dirname(file), { recursive: true });
    const partial = `${file}.partial-${process.pid}`;
    writeFileSync(partial, JSON.stringify({ key: keyOf(environment), time, probed }));
    renameSync(partial, file);
  } catch {
    // Next time it is tried again.
  }
  return probed;
}

const cacheFile = (dataDir: string): string => join(dataDir, "cache", "capabilities.json");

/** Whatever may change the outcome: the runtime, the packages, and what the drivers read from the environment. */
function keyOf(environment: NodeJS.ProcessEnv): string {
  const versions = ["webgpu", "onnxruntime-node"].map((name) => {
    try {
      return (require(`${name}/package.json`) as { version: string }).version;
    } catch {
      return "none";
    }
  });
  const { PATH: _, ...drivers } = driverEnvironment(environment);
  const facts = [process.version, process.platform, process.arch, release(), ...versions, drivers];
  return createHash("sha256").update(JSON.stringify(facts)).digest("hex");
}

function tryIn<Result>(name: "native" | "webgpu", environment: NodeJS.ProcessEnv): Promise<Result | null> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [PROBE, name], {
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...driverEnvironment(environment), ...ENGINE_ENVIRONMENT },
      timeout: PROBE_TIMEOUT_MS,
      killSignal: "SIGKILL",
    });
    try {
      if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_LOW);
    } catch {
      // Already over, or not ours to lower.
    }
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-10_000);
    });
    child.on("error", () => resolve(null));
    child.on("close", (code) => {
      try {
        resolve(code === 0 ? (JSON.parse(output.trim().split("\n").at(-1) ?? "") as Result) : null);
      } catch {
        resolve(null);
      }
    });
  });
}
