/** How rotary angles are stretched for contexts beyond those of training, from the papers. Pure numbers; readers of checkpoints know the keys. */

/** What a checkpoint says of YaRN. */
export interface YarnSettings {
  /** Values of a head that turn. */
  readonly ropeDim: number;
  readonly theta: number;
  /** How many times longer the context is made. */
  readonly factor: number;
  /** Tokens of the context of training. */
  readonly original: number;
  /** Pairs that turn more often than this in the original context stay as they are; those below `slow` are stretched in full. */
  readonly fast: number;
  readonly slow: number;
}

/** In the paper, and where a checkpoint is silent. */
export const YARN_TURNS = { fast: 32, slow: 1 } as const;

/** YaRN (Peng et al., 2023): what each pair's angle is divided by. Between the bounds, which are whole pairs as in the authors' code, in proportion. */
export function yarnFactors({ ropeDim, theta, factor, original, fast, slow }: YarnSettings): number[] {
  const pairAt = (turns: number): number =>
    (ropeDim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const low = Math.max(0, Math.floor(pairAt(fast)));
  const high = Math.min(ropeDim - 1, Math.ceil(pairAt(slow)));
  return Array.from({ length: ropeDim / 2 }, (_, pair) => {
    const stretched = Math.min(1, Math.max(0, (pair - low) / Math.max(high - low, 0.001)));
    return 1 / (1 - stretched + stretched / factor);
  });
}

/** What YaRN multiplies cos and sin by, so that attention stays as sharp. */
export const yarnScale = (factor: number): number => (factor > 1 ? 0.1 * Math.log(factor) + 1 : 1);

/** The same of LongRoPE (Ding et al., 2024), for a context of so many tokens. */
export const longRopeScale = (context: number, original: number): number =>
  context > original ? Math.sqrt(1 + Math.log(context / original) / Math.log(original)) : 1;
