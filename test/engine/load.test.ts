import { describe, expect, test } from "vitest";
import { sourceOfBytes } from "../../engine/gguf/source.ts";
import { KV_MEMORY_SHARE } from "../../engine/limits.ts";
import { type LoadHost, loadModel } from "../../engine/load.ts";
import { prepareInMemory } from "../../engine/prepare.ts";
import { probeProviders } from "../../engine/probe.ts";
import { gpuFacts } from "../../engine/providers/gpu-device.ts";
import { kvBytesPerToken } from "../../engine/slot-budget.ts";
import { createReferenceRunner } from "../../engine/reference/decoder.ts";
import type { Loaded } from "../../engine/thread.ts";
import type { LoadSpec } from "../../engine/thread-messages.ts";
import type { ProviderName } from "../../engine/types.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";

const { bytes, config, weights } = makeTinyGguf();
const model = await prepareInMemory(sourceOfBytes(bytes), { target: "f32" });
const spec: LoadSpec = {
  prepared: { webgpu: { model }, native: { model }, wasm: { model } },
  provider: "auto",
  threads: 1,
  slots: 2,
  slotLength: 64,
};

/** A host whose providers fail with the given reasons; the others work. */
function hostWith(
  failing: Partial<Record<ProviderName, string>>,
  absent: readonly ProviderName[] = [],
): LoadHost & { tried: ProviderName[] } {
  const tried: ProviderName[] = [];
  const all: ProviderName[] = ["webgpu", "native", "wasm"];
  const providers = all
    .filter((name) => !absent.includes(name))
    .map((name) => {
      const create: NonNullable<LoadHost["providers"]["wasm"]> = async (_, options) => {
        tried.push(name);
        if (failing[name] !== undefined) throw new Error(failing[name]);
        return { ...createReferenceRunner(config, weights, options), provider: name };
      };
      return [name, create] as const;
    });
  return {
    tried,
    open: async (reference) => ("model" in reference ? reference.model : Promise.reject(new Error("no disk"))),
    providers: Object.fromEntries(providers),
  };
}
const ignore = (): void => {};
async function loadDecoder(...args: Parameters<typeof loadModel>): Promise<Loaded> {
  const loaded = await loadModel(...args);
  if ("session" in loaded) throw new Error("a graph came");
  return loaded;
}

describe("loadModel", () => {
  test("auto takes the best that works and notes why others were passed over", async () => {
    expect((await loadDecoder(spec, hostWith({}), ignore)).runner.provider).toBe("webgpu");
    const host = hostWith({ webgpu: "there is no WebGPU adapter" });
    const loaded = await loadModel(spec, host, ignore);
    expect(loaded).toMatchObject({ runner: { provider: "native" }, notes: ["webgpu: there is no WebGPU adapter"] });
    expect(host.tried).toEqual(["webgpu", "native"]);
  });

  test("auto tries only what the model is prepared for and the platform has", async () => {
    const host = hostWith({}, ["native"]);
    const { runner } = await loadDecoder({ ...spec, prepared: { native: { model }, wasm: { model } } }, host, ignore);
    expect(runner.provider).toBe("wasm");
    expect(host.tried).toEqual(["wasm"]);
  });

  test("has fewer slots where memory is short, and says so", async () => {
    const slotBytes = 64 * kvBytesPerToken(config);
    const weightBytes = model.weights.byteLength;
    const load = (memory: number, provider: ProviderName = "native") =>
      loadDecoder({ ...spec, provider, slots: 4, memory }, hostWith({}), ignore);
    const roomFor = (slots: number): number => weightBytes + (slots * slotBytes) / KV_MEMORY_SHARE;
    expect(await load(roomFor(4))).toMatchObject({ runner: { slots: 4 }, notes: [] });
    const short = await load(roomFor(4) - 1);
    expect(short.runner.slots).toBe(3);
    expect(short.notes).toEqual(["3 of 4 slots: each of 64 tokens takes 1 MB, and there is no memory for more"]);
    expect((await load(0)).runner.slots).toBe(1);
    // A GPU's memory isn't this machine's.
    expect((await load(0, "webgpu")).runner.slots).toBe(4);
  });

  test("a named provider is taken or refused, never replaced", async () => {
    expect((await loadDecoder({ ...spec, provider: "wasm" }, hostWith({}), ignore)).runner.provider).toBe("wasm");
    await expect(
      loadModel({ ...spec, provider: "webgpu" }, hostWith({ webgpu: "device lost" }), ignore),
    ).rejects.toThrow("webgpu: device lost");
    await expect(loadModel({ ...spec, provider: "native" }, hostWith({}, ["native"]), ignore)).rejects.toThrow(
      "native does not exist on this platform",
    );
    await expect(loadModel({ ...spec, prepared: {}, provider: "wasm" }, hostWith({}), ignore)).rejects.toThrow(
      "not prepared for wasm",
    );
    await expect(loadModel({ ...spec, prepared: { wasm: { directory: "/x" } } }, hostWith({}), ignore)).rejects.toThrow(
      "no disk",
    );
  });

  test("says its stages, cuts the slot to what the model can, refuses nonsense", async () => {
    const stages: string[] = [];
    const { runner } = await loadDecoder({ ...spec, slotLength: 100_000 }, hostWith({}), ({ stage }) =>
      stages.push(stage),
    );
    expect(runner.slotLength).toBe(config.contextLength);
    expect(stages).toEqual(["reading", "tokenizer", "session (webgpu)"]);
    await expect(loadModel({ ...spec, slots: 0 }, hostWith({}), ignore)).rejects.toThrow(
      "slots must be a whole number",
    );
  });
});

describe("probeProviders", () => {
  const adapter = (info: Partial<GPUAdapterInfo>): GPUAdapter =>
    ({ info: { vendor: "", architecture: "", device: "", description: "", ...info } }) as GPUAdapter;
  const probe = (found: GPUAdapter | null, allowSoftwareGpu = false) =>
    probeProviders({
      allowSoftwareGpu,
      gpu: async () => ({ requestAdapter: async () => found }),
      wasm: async () => {},
    });

  test("a real adapter comes first; what is missing has a reason", async () => {
    const result = await probe(adapter({ vendor: "nvidia", architecture: "ada" }));
    expect(result).toMatchObject({ providers: ["webgpu", "wasm"], gpu: { vendor: "nvidia", isSoftware: false } });
    expect(result.reasons.native).toContain("platform");
    expect(await probe(null)).toMatchObject({
      providers: ["wasm"],
      gpu: undefined,
      reasons: { webgpu: "there is no WebGPU adapter" },
    });
  });

  test("a software adapter counts only where it is allowed", async () => {
    const software = adapter({ vendor: "google", architecture: "swiftshader" });
    expect(await probe(software)).toMatchObject({ providers: ["wasm"], gpu: { isSoftware: true } });
    expect(await probe(software, true)).toMatchObject({ providers: ["webgpu", "wasm"] });
    expect(gpuFacts(adapter({ vendor: "acme", isFallbackAdapter: true })).isSoftware).toBe(true);
    expect(gpuFacts(adapter({ vendor: "mesa", description: "llvmpipe (LLVM 15.0.6)" })).isSoftware).toBe(true);
    expect(gpuFacts(adapter({ vendor: "intel", description: "Mesa Intel(R) Xe Graphics" })).isSoftware).toBe(false);
  });
});
