/** A mask that takes too long: on a virtual clock. */
import type { GrammarMatcher } from "@mlc-ai/web-xgrammar";
import { expect, test } from "vitest";
import { GrammarMask } from "../../../engine/grammar/mask.ts";
import { GRAMMAR_SLOW_MS_MAX, GRAMMAR_STEP_MS } from "../../../engine/limits.ts";
import { GrammarError } from "../../../engine/refusals.ts";

test.each(["mask", "accept"])("a slow %s may happen; again and again it ends the answer", async (which) => {
  let now = 0;
  let takes = GRAMMAR_STEP_MS;
  const spend = (part: string): void => void (now += part === which ? takes : 0);
  const matcher = {
    getNextTokenBitmask: async () => (spend("mask"), Int32Array.of(0b11)),
    acceptToken: () => (spend("accept"), true),
    dispose: () => {},
  } as unknown as GrammarMatcher;
  const mask = new GrammarMask(matcher, [1], () => now);
  const step = async (): Promise<void> => {
    await mask.prepare();
    expect(mask.allowed).toEqual(Int32Array.of(0b11));
    mask.accept(0);
  };
  for (let at = 0; at < 20; at++) await step();
  takes = 100 * GRAMMAR_SLOW_MS_MAX;
  await step();
  takes = GRAMMAR_STEP_MS + 1;
  const last = (async () => {
    await step();
    // A slow `accept` is told at the next token.
    await step();
  })();
  await expect(last).rejects.toThrow(GrammarError);
});
