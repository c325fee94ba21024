/** What the f32 oracle says to the script of steps, and how close is close. */
import { expect } from "vitest";
import { createReferenceRunner } from "../../engine/reference/decoder.ts";
import type { GgufFormat } from "./gguf-writer.ts";
import { SCRIPT_SLOTS, scriptedLogits, type SHORT_SCRIPT } from "./scripted-logits.ts";
import { makeTinyGguf } from "./tiny-gguf.ts";
import type { TinyKind } from "./tiny-model.ts";

export function oracleLogits(
  kind: TinyKind,
  format: GgufFormat,
  script?: typeof SHORT_SCRIPT,
): Promise<Float32Array[]> {
  const { config, weights } = makeTinyGguf({ kind, format });
  return scriptedLogits(createReferenceRunner(config, weights, SCRIPT_SLOTS), script);
}

/** Throws where a logit is off by `tolerance` or more. */
export function expectClose(
  actual: readonly Float32Array[],
  expected: readonly Float32Array[],
  tolerance: number,
): void {
  expect(actual).toHaveLength(expected.length);
  expected.forEach((logits, step) => {
    expect(actual[step]).toHaveLength(logits.length);
    const worst = logits.reduce((most, value, i) => Math.max(most, Math.abs(value - actual[step]![i]!)), 0);
    expect(worst, `step ${step}`).toBeLessThan(tolerance);
  });
}
