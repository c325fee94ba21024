import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { capabilitiesOf, likely, probe, remembered, type Probed } from "../../../worker/node/capabilities.ts";

const options = {
  name: "w",
  cpus: null,
  gpus: null,
  resources: { x: 2 },
  device: "auto" as const,
  allowSoftwareGpu: false,
};
const card: Probed = {
  native: true,
  gpu: { vendor: "acme", architecture: "one", description: "Acme One", isSoftware: false },
};
const software: Probed = {
  native: true,
  gpu: { vendor: "google", architecture: "swiftshader", description: "SwiftShader Device", isSoftware: true },
};
const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true, force: true })));

describe("what a worker offers", () => {
  it("is this machine, with the GPU that was found", () => {
    expect(capabilitiesOf(options, card)).toMatchObject({
      cpus: availableParallelism(),
      gpus: 1,
      providers: ["webgpu", "native", "wasm"],
      adapter: "Acme One",
      resources: { x: 2 },
      kind: "node",
    });
    expect(capabilitiesOf(options, { native: false, gpu: null })).toMatchObject({
      gpus: 0,
      providers: ["wasm"],
      adapter: null,
    });
  });

  it("counts a software adapter only where that was allowed", () => {
    expect(capabilitiesOf(options, software)).toMatchObject({ gpus: 0, providers: ["native", "wasm"], adapter: null });
    expect(capabilitiesOf({ ...options, allowSoftwareGpu: true }, software)).toMatchObject({
      gpus: 1,
      adapter: "SwiftShader Device",
    });
  });

  it("is what the person said, where they said something", () => {
    expect(capabilitiesOf({ ...options, cpus: 1.5, gpus: 3 }, card)).toMatchObject({ cpus: 1.5, gpus: 3 });
    expect(capabilitiesOf({ ...options, device: "native" }, card)).toMatchObject({
      gpus: 0,
      providers: ["native"],
      adapter: null,
    });
    expect(capabilitiesOf({ ...options, device: "wasm" }, card)).toMatchObject({ gpus: 0, providers: ["wasm"] });
  });

  it("is tried in children, remembered for the same drivers, for a day", async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "skein-probe-"));
    folders.push(dataDir);
    const environment = { PATH: process.env["PATH"] };
    expect(remembered(dataDir, environment, 0)).toBeNull();
    const probed = await probe(dataDir, environment, 1_000);
    // Where the add-on is installed it loads; if it doesn't here, `likely` promises too much.
    expect(probed.native).toBe(likely().native);
    expect(remembered(dataDir, environment, 2_000)).toEqual(probed);
    expect(remembered(dataDir, { ...environment, VK_ICD_FILENAMES: "/other.json" }, 2_000)).toBeNull();
    expect(remembered(dataDir, environment, 1_000 + 25 * 3600_000)).toBeNull();
  });
});
