/**
 * What a replica's process may see and touch: environment variables and Node's permission flags. Pure.
 * A seat belt, not a sandbox: native add-ons (ONNX Runtime, Dawn) can pass by the flags; docs/platforms.md says so.
 */
import { join } from "node:path";
import { ENGINE_ENVIRONMENT } from "./engine-environment.ts";

/** Where programs, homes, time zones and languages are found, and what GPU drivers read. Nothing that holds secrets by custom. */
const NAMES: ReadonlySet<string> = new Set([
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "LANG",
  "LANGUAGE",
  "TZ",
  "NODE_EXTRA_CA_CERTS",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "LD_LIBRARY_PATH",
  "DYLD_LIBRARY_PATH",
  "DISPLAY",
  "WAYLAND_DISPLAY",
  "XAUTHORITY",
  "XDG_RUNTIME_DIR",
  "DRI_PRIME",
  "SYSTEMROOT",
  "SYSTEMDRIVE",
  "WINDIR",
  "COMSPEC",
  "PATHEXT",
  "USERPROFILE",
  "APPDATA",
  "LOCALAPPDATA",
  "PROGRAMDATA",
  "PROGRAMFILES",
  "NUMBER_OF_PROCESSORS",
  "PROCESSOR_ARCHITECTURE",
]);
const PREFIXES = [
  "LC_",
  "VK_",
  "MESA_",
  "CUDA_",
  "NVIDIA_",
  "__NV",
  "__GL",
  "LIBGL_",
  "EGL_",
  "AMD_",
  "RADV_",
  "ANV_",
  "INTEL_",
  "DAWN_",
];

type Environment = Readonly<Record<string, string | undefined>>;

/** The variables that drivers and programs need, of `environment`. Names are compared without case, as Windows does. */
export function driverEnvironment(environment: Environment): Record<string, string> {
  const kept = Object.entries(environment).filter((entry): entry is [string, string] => {
    const name = entry[0].toUpperCase();
    return entry[1] !== undefined && (NAMES.has(name) || PREFIXES.some((prefix) => name.startsWith(prefix)));
  });
  return Object.fromEntries(kept);
}

/** `declared`: env_vars of the deployment. ONNX Runtime must be kept from calling home by whoever starts the process. */
export function replicaEnvironment(
  environment: Environment,
  declared: Readonly<Record<string, string>>,
  folders: Pick<ReplicaFolders, "scratch" | "compileCache">,
): Record<string, string> {
  const { scratch, compileCache } = folders;
  return {
    ...driverEnvironment(environment),
    TMPDIR: scratch,
    TEMP: scratch,
    TMP: scratch,
    ...declared,
    ...ENGINE_ENVIRONMENT,
    NODE_COMPILE_CACHE: compileCache,
  };
}

/** System folders that programs read as a matter of course: certificates, host names, time zones, libraries, facts about the CPU. */
const SYSTEM_FOLDERS = [
  "/etc",
  "/usr",
  "/lib",
  "/lib64",
  "/opt",
  "/proc",
  "/sys",
  "/dev",
  "/run",
  "/System",
  "/Library",
  "C:\\Windows",
];

export interface ReplicaFolders {
  /** Skein itself with its packages. */
  readonly program: string;
  /** Bundles and prepared models. */
  readonly read: readonly string[];
  /** The replica's own: its working directory and temporary folder. The only place that it may write to. */
  readonly scratch: string;
  /**
   * Node's cache of compiled modules, shared by all our processes: it halves a replica's start. It is writable only until user code is
   * imported (`seal`), else one application could write what another one runs.
   */
  readonly compileCache: string;
}

/** Takes back what a replica needed for its own start only. Call in the replica's process before any user code is imported. */
export function seal(
  compileCache: string | undefined,
  flush: () => void,
  permission: { drop(scope: string, reference?: string): void } | undefined,
): void {
  if (compileCache === undefined || permission === undefined) return;
  flush();
  permission.drop("fs.write", join(compileCache, "*"));
}

/** It may listen to and dial what it likes, start threads and load add-ons; it may not start processes nor read or write elsewhere. */
export function permissionFlags(folders: ReplicaFolders): string[] {
  const read = [folders.program, ...folders.read, folders.scratch, folders.compileCache, ...SYSTEM_FOLDERS].map(
    (folder) => `--allow-fs-read=${join(folder, "*")}`,
  );
  const write = [folders.scratch, folders.compileCache].map((folder) => `--allow-fs-write=${join(folder, "*")}`);
  return ["--permission", ...read, ...write, "--allow-worker", "--allow-addons", "--allow-net", "--allow-wasi"];
}
