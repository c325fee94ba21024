import { expect, test } from "vitest";
import type { TensorFormat } from "../../../engine/gguf/format.ts";
import { formOf, type Target } from "../../../engine/onnx/target.ts";

const LARGE = 100_000_000;
const form = (target: Target, format: TensorFormat, elements = LARGE, columns = 64): string =>
  formOf(target, { rows: 64, columns, format, tensors: [], assemble: () => new Uint8Array() }, elements);

test("each target gets weights that it has kernels for", () => {
  expect(form("native", "Q4_1")).toBe("int8");
  expect(form("native", "Q4_0")).toBe("int4");
  expect(form("native", "Q8_0")).toBe("int8");
  expect(form("native", "Q4_K")).toBe("int8");
  // Of large models memory counts for more.
  for (const format of ["Q4_1", "Q4_K"] as const) expect(form("native", format, 1_000_000_000)).toBe("int4");
  for (const format of ["Q5_0", "Q5_1", "Q5_K", "Q6_K"] as const) expect(form("native", format)).toBe("int8");
  expect(form("webgpu", "Q4_0")).toBe("int4");
  // Four bits with a minimum would need a second multiplication, which breaks the provider's own fusions.
  expect(form("webgpu", "Q4_1")).toBe("int8");
  expect(form("webgpu", "Q4_K")).toBe("int8");
  for (const format of ["F32", "Q4_0", "Q4_1", "Q8_0"] as const) {
    expect(form("wasm", format)).toBe("f32");
    expect(form("f32", format)).toBe("f32");
  }
});

test("unquantised weights stay so in small models, and rows that blocks don't divide always", () => {
  expect(form("native", "F16", 1_000_000)).toBe("f32");
  expect(form("webgpu", "F32", 1_000_000)).toBe("f32");
  expect(form("native", "F16")).toBe("int8");
  expect(form("native", "F32", LARGE, 48)).toBe("f32");
});
