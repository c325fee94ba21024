/** What this tab can do: processors and memory as the browser tells them, providers and GPU by trying them in an engine thread. */
import type { EngineClient, ProbeResult } from "../../engine/index.ts";
import type { Capabilities } from "../../protocol/control.ts";
import { MEMORY_DEFAULT } from "./limits.ts";
import type { TabOptions } from "./tab.ts";

/** What the browser says of its machine. */
export interface TabFacts {
  readonly hardwareConcurrency: number;
  /** GiB, rounded and capped by the browser; undefined where it doesn't tell. */
  readonly deviceMemory: number | undefined;
  readonly platform: string;
}

export function capabilitiesOf(options: TabOptions, facts: TabFacts, probed: ProbeResult): Capabilities {
  const { device } = options;
  const providers = probed.providers.filter((name) => device === "auto" || name === device);
  const gpu = providers.includes("webgpu") ? probed.gpu : undefined;
  return {
    cpus: options.cpus ?? facts.hardwareConcurrency,
    gpus: options.gpus ?? (gpu === undefined ? 0 : 1),
    memory: facts.deviceMemory === undefined ? MEMORY_DEFAULT : facts.deviceMemory * 2 ** 30,
    resources: { ...options.resources },
    kind: "browser",
    providers,
    adapter:
      gpu === undefined
        ? null
        : gpu.description || [gpu.vendor, gpu.architecture].filter((part) => part !== "").join(" ") || "unnamed GPU",
    platform: facts.platform.slice(0, 100),
    name: options.name,
  };
}

/** Never rejects: what can't be tried isn't there. */
export async function probe(start: () => Promise<EngineClient>, allowSoftwareGpu: boolean): Promise<ProbeResult> {
  try {
    const client = await start();
    const result = await client.probe({ allowSoftwareGpu });
    await client.close();
    return result;
  } catch (error) {
    console.warn(`No engine runs in this tab: ${error instanceof Error ? error.message : String(error)}`);
    return { providers: [], gpu: undefined, reasons: {} };
  }
}
