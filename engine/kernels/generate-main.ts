/** Writes engine/kernels/vocabulary.ts from the text beside it: `node engine/kernels/generate-main.ts`. A test fails when it is out of date. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { compiledKernels } from "./compile.ts";

writeFileSync(join(import.meta.dirname, "vocabulary.ts"), await compiledKernels());
