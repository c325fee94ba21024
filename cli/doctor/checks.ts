/** What `skein doctor` looks at: each check is one line that says ok, warn or fail, and how to mend it. Judges figures; `probe.ts` measures. Pure. */

export interface Check {
  readonly name: string;
  readonly level: "ok" | "warn" | "fail";
  readonly text: string;
  /** What to do; null when nothing is to be done. */
  readonly fix: string | null;
}

export interface Facts {
  readonly node: string;
  readonly threads: number;
  readonly memoryBytes: number;
  readonly dataDir: string;
  readonly diskFreeBytes: number | null;
  readonly dataDirTrouble: string | null;
  /** Bytes below each folder of the data folder. */
  readonly dataDirUse: Readonly<Record<string, number>>;
  readonly modelCached: boolean;
  /** `python3 -m pip --version`, or why it can't be had. */
  readonly pip: { readonly version: string } | { readonly trouble: string };
  readonly providers: Readonly<Record<"native" | "wasm" | "webgpu", string | null>>;
  readonly adapters: readonly { readonly name: string; readonly software: boolean }[];
  readonly ports: readonly {
    readonly port: number;
    readonly purpose: string;
    readonly option: string;
    readonly trouble: string | null;
  }[];
  /** Address of the mesh that answers here, which explains ports in use. */
  readonly mesh: string | null;
}

const GIB = 1024 ** 3;
/** The default model's file, its prepared form and room to work. */
const DISK_WANTED = GIB;
/** One replica of the default model with everything around it. */
const MEMORY_WANTED = 1.5 * GIB;

export function checks(facts: Facts): Check[] {
  const ok = (name: string, text: string): Check => ({ name, level: "ok", text, fix: null });
  const warn = (name: string, text: string, fix: string): Check => ({ name, level: "warn", text, fix });
  const fail = (name: string, text: string, fix: string): Check => ({ name, level: "fail", text, fix });
  const gib = (bytes: number): string => `${(bytes / GIB).toFixed(1)} GiB`;
  const major = Number(facts.node.split(".")[0]);
  const { native, wasm, webgpu } = facts.providers;
  const hardware = facts.adapters.filter((adapter) => !adapter.software);

  const list: Check[] = [];
  list.push(
    major >= 24 ? ok("Node", `v${facts.node}`) : fail("Node", `v${facts.node} is too old`, "Install Node 24 or newer."),
  );
  list.push(
    facts.threads >= 2
      ? ok("threads", String(facts.threads))
      : warn("threads", "1", "One thread serves and computes in turns: expect slow answers."),
  );
  list.push(
    facts.memoryBytes >= MEMORY_WANTED
      ? ok("memory", gib(facts.memoryBytes))
      : warn("memory", gib(facts.memoryBytes), `The default model wants ${gib(MEMORY_WANTED)}.`),
  );
  if (facts.dataDirTrouble !== null)
    list.push(
      fail(
        "data folder",
        `${facts.dataDir}: ${facts.dataDirTrouble}`,
        "Make it yours, or set SKEIN_DATA_DIR to a folder that can be written.",
      ),
    );
  else list.push(ok("data folder", `${facts.dataDir}${inUse(facts.dataDirUse)}`));
  if (facts.diskFreeBytes !== null)
    list.push(
      facts.diskFreeBytes >= DISK_WANTED
        ? ok("disk", `${gib(facts.diskFreeBytes)} free`)
        : warn("disk", `${gib(facts.diskFreeBytes)} free`, `Free ${gib(DISK_WANTED)} for the default model.`),
    );
  if (facts.modelCached) list.push(ok("default model", "in the cache"));
  else if ("version" in facts.pip) list.push(ok("default model", "not fetched yet: the first start does it (98 MB)"));
  else
    list.push(
      warn(
        "default model",
        "not fetched yet, and pip is missing",
        `Only the Hugging Face hub is left as a source. For the other: ${facts.pip.trouble}`,
      ),
    );
  list.push(
    native === null
      ? ok("native", "ONNX Runtime for Node loads")
      : warn("native", native, "Without it models run on WebAssembly, and prompts take two to three times as long."),
  );
  list.push(
    wasm === null
      ? ok("wasm", "ONNX Runtime Web is there")
      : fail("wasm", wasm, "Install the packages again: `node setup.mjs install`."),
  );
  if (webgpu !== null)
    list.push(
      warn(
        "webgpu",
        webgpu,
        "GPUs of this machine can't be used. On Linux install the Vulkan driver of your GPU (Debian: mesa-vulkan-drivers, libvulkan1).",
      ),
    );
  else if (hardware.length > 0) list.push(ok("webgpu", hardware.map((adapter) => adapter.name).join(", ")));
  else if (facts.adapters.length > 0)
    list.push(
      ok(
        "webgpu",
        `only in software (${facts.adapters.map((a) => a.name).join(", ")}): used with --allow-software-gpu alone`,
      ),
    );
  else list.push(ok("webgpu", "no GPU found: models run on the CPU"));
  for (const { port, purpose, option, trouble } of facts.ports) {
    if (trouble === null) list.push(ok(`port ${port}`, `free (${purpose})`));
    else if (facts.mesh !== null) list.push(ok(`port ${port}`, `in use; a mesh runs at ${facts.mesh}`));
    else
      list.push(
        warn(
          `port ${port}`,
          `${trouble === "EADDRINUSE" ? "in use by another program" : trouble} (${purpose})`,
          `Stop that program, or choose another port with ${option}.`,
        ),
      );
  }
  return list;
}

/** One aligned line for each check, its fix beneath. */
export function doctorText(list: readonly Check[]): string {
  const width = Math.max(...list.map((check) => check.name.length));
  return list
    .flatMap((check) => [
      `${check.level.padEnd(4)}  ${check.name.padEnd(width)}  ${check.text}`,
      ...(check.fix === null ? [] : [`      ${" ".repeat(width)}  -> ${check.fix}`]),
    ])
    .join("\n")
    .concat("\n");
}

/** " (models 104 MiB, prepared 208 MiB)": the largest first, small change left out. */
function inUse(folders: Facts["dataDirUse"]): string {
  const sizes = Object.entries(folders)
    .map(([name, bytes]) => ({ name, mib: Math.round(bytes / 1024 ** 2) }))
    .filter(({ mib }) => mib > 0)
    .sort((a, b) => b.mib - a.mib);
  return sizes.length === 0 ? "" : ` (${sizes.map(({ name, mib }) => `${name} ${mib} MiB`).join(", ")})`;
}
