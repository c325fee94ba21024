import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { compiledKernels, KERNEL_TEXTS } from "../../../engine/kernels/compile.ts";

test.each(Object.keys(KERNEL_TEXTS) as (keyof typeof KERNEL_TEXTS)[])(
  "the compiled kernels are those of %s.wat (else: node engine/kernels/generate-main.ts)",
  async (name) => {
    const kept = readFileSync(new URL(`../../../engine/kernels/${name}.ts`, import.meta.url), "utf8");
    expect(kept).toBe(await compiledKernels(name));
  },
);
