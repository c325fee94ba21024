/** Writes the compiled kernels beside their texts: `node engine/kernels/generate-main.ts`. A test fails when one is out of date. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { compiledKernels, KERNEL_TEXTS } from "./compile.ts";

for (const name of Object.keys(KERNEL_TEXTS) as (keyof typeof KERNEL_TEXTS)[])
  writeFileSync(join(import.meta.dirname, `${name}.ts`), await compiledKernels(name));
