/** Makes engine/kernels/vocabulary.ts from the text beside it. Used when the text changes, and by the test that both agree; never at run time. */
import { readFileSync } from "node:fs";
import wabt from "wabt";

/** The module's source text, with the compiled kernels in it. */
export async function compiledKernels(): Promise<string> {
  const file = new URL("vocabulary.wat", import.meta.url);
  const { parseWat } = await wabt();
  const module = parseWat("vocabulary.wat", readFileSync(file, "utf8"), { simd: true });
  const base64 = Buffer.from(module.toBinary({}).buffer).toString("base64");
  module.destroy();
  return `/** Compiled from vocabulary.wat: \`node engine/kernels/generate-main.ts\`. */
export const VOCABULARY_KERNELS =
  "${base64}";
`;
}
