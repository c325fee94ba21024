import { describe, expect, test } from "vitest";
import type { ProbeResult } from "../../../engine/index.ts";
import { capabilitiesSchema } from "../../../protocol/control.ts";
import { capabilitiesOf } from "../../../worker/browser/capabilities.ts";
import type { TabOptions } from "../../../worker/browser/tab.ts";

const OPTIONS: TabOptions = {
  name: "tab",
  device: "auto",
  allowSoftwareGpu: false,
  cpus: null,
  gpus: null,
  resources: { one: 1 },
};
const FACTS = { hardwareConcurrency: 8, deviceMemory: 4, platform: "Mozilla/5.0" };
const PROBED: ProbeResult = {
  providers: ["webgpu", "wasm"],
  gpu: { vendor: "v", architecture: "a", description: "", isSoftware: false },
  reasons: {},
};

describe("what a tab offers", () => {
  test("is what the browser says and what was tried", () => {
    const capabilities = capabilitiesOf(OPTIONS, FACTS, PROBED);
    expect(capabilities).toEqual({
      cpus: 8,
      gpus: 1,
      memory: 2 ** 32,
      resources: { one: 1 },
      kind: "browser",
      providers: ["webgpu", "wasm"],
      adapter: "v a",
      platform: "Mozilla/5.0",
      name: "tab",
    });
    expect(capabilitiesSchema.parse(capabilities)).toEqual(capabilities);
  });

  test("has no GPU where there is none, where none is wanted, or where it is a software one that nobody allowed", () => {
    expect(capabilitiesOf(OPTIONS, FACTS, { ...PROBED, providers: ["wasm"] })).toMatchObject({
      gpus: 0,
      adapter: null,
      providers: ["wasm"],
    });
    expect(capabilitiesOf({ ...OPTIONS, device: "wasm" }, FACTS, PROBED)).toMatchObject({
      gpus: 0,
      adapter: null,
      providers: ["wasm"],
    });
    expect(capabilitiesOf({ ...OPTIONS, device: "webgpu" }, FACTS, PROBED)).toMatchObject({
      gpus: 1,
      providers: ["webgpu"],
    });
  });

  test("is what the person said, where they said something", () => {
    expect(
      capabilitiesOf({ ...OPTIONS, cpus: 0.5, gpus: 0 }, { ...FACTS, deviceMemory: undefined }, PROBED),
    ).toMatchObject({ cpus: 0.5, gpus: 0, memory: 4 * 2 ** 30 });
  });
});
