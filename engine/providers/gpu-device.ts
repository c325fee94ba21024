/** A WebGPU device that is ours: the best limits of the adapter, the features that ONNX Runtime makes use of. */
import type { GpuFacts } from "../thread-messages.ts";

/** What a platform gives: `navigator.gpu` in a tab, Dawn in Node. */
export type Gpu = Pick<GPU, "requestAdapter">;

const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
] as const;

/** ONNX Runtime chooses its kernels by the device's features: a kernel that fails here is avoided by leaving its feature out. */
const SUBGROUP_FEATURES = ["subgroups", "subgroup-size-control", "chromium-experimental-subgroup-matrix"];
const FEATURES = ["shader-f16", "timestamp-query", ...SUBGROUP_FEATURES];

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|warp|basic render|software/i;

/** The adapter for computing, or undefined where there is none. */
export async function findAdapter(gpu: Gpu): Promise<GPUAdapter | undefined> {
  return (await gpu.requestAdapter({ powerPreference: "high-performance" })) ?? undefined;
}

export function gpuFacts({ info }: GPUAdapter): GpuFacts {
  const { vendor, architecture, description } = info;
  const isSoftware =
    info.isFallbackAdapter === true || SOFTWARE.test([vendor, architecture, info.device, description].join(" "));
  return { vendor, architecture, description, isSoftware };
}

/** Opens the device; an adapter gives one, so ask for a fresh adapter each time. */
export async function openDevice(
  adapter: GPUAdapter,
  { withSubgroups }: { withSubgroups: boolean },
): Promise<GPUDevice> {
  const features = FEATURES.filter(
    (name) => adapter.features.has(name) && (withSubgroups || !SUBGROUP_FEATURES.includes(name)),
  );
  return adapter.requestDevice({
    // The experimental one is not in the typed list.
    requiredFeatures: features as GPUFeatureName[],
    requiredLimits: Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]])),
  });
}
