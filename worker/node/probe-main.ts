/**
 * A short-lived child that tries one provider, because a driver or an add-on may crash or hang: probe-main.ts native|webgpu.
 * Last line of its output: JSON of ProbeOfNative or ProbeOfWebgpu (capabilities.ts).
 */
import { findAdapter, gpuFacts } from "../../engine/providers/gpu-device.ts";
import { loadNativeRuntime } from "../../engine/providers/native.ts";
import { nodeGpu } from "../../engine/providers/node-gpu.ts";

const PROBES: Readonly<Record<string, () => Promise<unknown>>> = {
  async native() {
    await loadNativeRuntime();
    return { loads: true };
  },
  async webgpu() {
    const adapter = await findAdapter(await nodeGpu());
    return { adapter: adapter === undefined ? null : gpuFacts(adapter) };
  },
};

try {
  const probe = PROBES[process.argv[2] ?? ""];
  if (probe === undefined) throw new Error("usage: probe-main.ts native|webgpu");
  const result = JSON.stringify(await probe());
  // Dawn keeps the event loop alive, and its shutdown may crash in a broken driver: out as soon as the line is written.
  process.stdout.write(`\n${result}\n`, () => process.exit(0));
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
