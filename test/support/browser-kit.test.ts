import { execFile } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { launch } from "puppeteer";
import { expect, test } from "vitest";
import { chromiumOptions, swiftshaderEnv } from "./browser-kit.ts";

const DAWN = `
  import { create, globals } from "webgpu";
  Object.assign(globalThis, globals);
  const adapter = await create([]).requestAdapter();
  const device = await adapter.requestDevice();
  console.log(JSON.stringify({ architecture: adapter.info.architecture, device: device instanceof GPUDevice }));
  process.exit(0); // Dawn keeps the process alive
`;

test("Dawn in Node finds SwiftShader in a child with the kit's environment", async () => {
  const args = ["--input-type=module", "--eval", DAWN];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env: await swiftshaderEnv() });
  expect(JSON.parse(stdout)).toEqual({ architecture: "swiftshader", device: true });
});

test("Chromium of the kit computes on WebGPU in a cross-origin isolated page", async () => {
  const headers = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
  const server = createServer((_, response) => response.writeHead(200, headers).end());
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const browser = await launch(await chromiumOptions());
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    expect(await page.evaluate(doubled)).toEqual({ isolated: true, architecture: "swiftshader", values: [2, 4, 6, 8] });
  } finally {
    await browser.close();
    server.close();
  }
});

/** Runs in the page: doubles four numbers in a compute shader. */
async function doubled(): Promise<{ isolated: boolean; architecture?: string; values: number[] }> {
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter?.requestDevice();
  if (!device) return { isolated: crossOriginIsolated, values: [] };
  const size = 16;
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const data = device.createBuffer({ size, usage });
  const result = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  device.queue.writeBuffer(data, 0, new Float32Array([1, 2, 3, 4]));
  const code = `@group(0) @binding(0) var<storage, read_write> v: array<f32>;
    @compute @workgroup_size(4) fn main(@builtin(global_invocation_id) i: vec3u) { v[i.x] *= 2; }`;
  const pipeline = device.createComputePipeline({
    layout: "auto",
    compute: { module: device.createShaderModule({ code }) },
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  const entries = [{ binding: 0, resource: { buffer: data } }];
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(data, 0, result, 0, size);
  device.queue.submit([encoder.finish()]);
  await result.mapAsync(GPUMapMode.READ);
  return {
    isolated: crossOriginIsolated,
    architecture: adapter!.info.architecture,
    values: [...new Float32Array(result.getMappedRange())],
  };
}
