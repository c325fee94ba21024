import type { LogitsMask } from "../../engine/grammar/mask.ts";

/** The tokens that a mask, prepared, lets come next. */
export function allowedTokens({ allowed }: LogitsMask): number[] {
  return [...allowed].flatMap((word, at) =>
    Array.from({ length: 32 }, (_, bit) => 32 * at + bit).filter((token) => ((word >>> (token & 31)) & 1) === 1),
  );
}
