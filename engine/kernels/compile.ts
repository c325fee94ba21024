/** Makes a module of compiled kernels from the text beside it. Used when a text changes, and by the test that both agree; never at run time. */
import { readFileSync } from "node:fs";
import wabt from "wabt";

/** The texts, by what is made of each: a .ts file of this name with the constant. */
export const KERNEL_TEXTS = {
  vocabulary: "VOCABULARY_KERNELS",
  int4: "INT4_KERNELS",
  int8: "INT8_KERNELS",
  layers: "LAYER_KERNELS",
} as const;

/** The module's source text, with the compiled kernels of `<name>.wat` in it. */
export async function compiledKernels(name: keyof typeof KERNEL_TEXTS): Promise<string> {
  const file = new URL(`${name}.wat`, import.meta.url);
  const { parseWat } = await wabt();
  const module = parseWat(`${name}.wat`, readFileSync(file, "utf8"), { simd: true });
  const base64 = Buffer.from(module.toBinary({}).buffer).toString("base64");
  module.destroy();
  return `/** Compiled from ${name}.wat: \`node engine/kernels/generate-main.ts\`. */
export const ${KERNEL_TEXTS[name]} =
  "${base64}";
`;
}
