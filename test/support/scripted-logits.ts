/** One fixed script of steps on any runner, and the logits that came out: prompts in chunks, a ragged batch, teacher-forced decoding. */
import type { Runner } from "../../engine/types.ts";

export const SCRIPT_SLOTS = { slots: 3, slotLength: 112 } as const;

/** All of it, and what a GPU that is computed by a CPU can do in a minute. */
const WHOLE_SCRIPT = { prompts: 3, steps: 3 } as const;
export const SHORT_SCRIPT = { prompts: 2, steps: 1 } as const;

/** Longer than the tiny models' windows, on both sides of 32, and short. */
const PROMPTS = [96, 9, 41].map((length, row) => Int32Array.from({ length }, (_, i) => (17 * i + 5 * row + 3) % 512));

export async function scriptedLogits(
  runner: Runner,
  script: { readonly prompts: number; readonly steps: number } = WHOLE_SCRIPT,
): Promise<Float32Array[]> {
  const logits: Float32Array[] = [];
  const prompts = PROMPTS.slice(0, script.prompts);
  for (const [slot, prompt] of prompts.entries()) {
    const cut = Math.floor((prompt.length * 2) / 3);
    await runner.prefill(slot, prompt.subarray(0, cut), 0, false);
    logits.push((await runner.prefill(slot, prompt.subarray(cut), cut, true))!.slice());
  }
  for (let step = 0; step < script.steps; step++) {
    const tokens = Int32Array.from(prompts, (_, row) => (31 * step + 7 * row + 11) % 512);
    logits.push(
      (
        await runner.decode(
          tokens,
          Int32Array.from(prompts, ({ length }) => length + step),
        )
      ).slice(),
    );
  }
  return logits;
}
