/** Finds out which providers a machine has, without loading a model. How each is tried is an argument. */
import { PROVIDER_ORDER } from "./load.ts";
import { findAdapter, type Gpu, gpuFacts } from "./providers/gpu-device.ts";
import type { GpuFacts, ProbeResult } from "./thread-messages.ts";
import type { ProviderName } from "./types.ts";

export interface ProbeHost {
  readonly allowSoftwareGpu: boolean;
  /** Rejects where the platform has no WebGPU. */
  readonly gpu: () => Promise<Gpu>;
  /** Resolve where the provider's runtime is there; reject with the reason. Absent: not on this platform. */
  readonly native?: () => Promise<void>;
  readonly wasm: () => Promise<void>;
}

/** Never rejects: what fails is a missing provider with a reason. */
export async function probeProviders({ allowSoftwareGpu, gpu, native, wasm }: ProbeHost): Promise<ProbeResult> {
  const reasons: Partial<Record<ProviderName, string>> = {};
  let facts: GpuFacts | undefined;
  const attempts: Record<ProviderName, () => Promise<void>> = {
    webgpu: async () => {
      const adapter = await findAdapter(await gpu());
      if (adapter === undefined) throw new Error("there is no WebGPU adapter");
      facts = gpuFacts(adapter);
      if (facts.isSoftware && !allowSoftwareGpu) throw new Error("the only WebGPU adapter is software");
    },
    native: native ?? (() => Promise.reject(new Error("native code does not run on this platform"))),
    wasm,
  };
  const providers: ProviderName[] = [];
  for (const name of PROVIDER_ORDER) {
    try {
      await attempts[name]();
      providers.push(name);
    } catch (error) {
      reasons[name] = error instanceof Error ? error.message : String(error);
    }
  }
  return { providers, gpu: facts, reasons };
}
