/** A crowd on a virtual clock, with the costs that `native` was measured to have on two cores: what the scheduler makes of them, exactly. */
import { expect, test } from "vitest";
import { EngineLoop } from "../../engine/loop.ts";
import { PREFILL_BESIDE_DECODE_TOKENS } from "../../engine/limits.ts";
import { prf } from "../../engine/prf.ts";
import { GREEDY } from "../../engine/sampling.ts";
import type { Runner } from "../../engine/types.ts";
import { createLedgerRunner } from "../support/ledger-runner.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";

const { config } = makeTinyGguf();
const text = { bytesOf: () => new Uint8Array(0), isEnd: () => false, endTokens: [] };
const CHATS = 32;
const SLOTS = 8;

/** Of SmolLM2-135M: ms for a decode step of so many rows, a prefill run of so many tokens, a copy of so many positions. */
const stepMs = (rows: number): number => 9 + 2 * rows;
const prefillMs = (tokens: number): number => 15 + 1.2 * tokens;
const copyMs = (length: number): number => 0.006 * length;

async function crowd(seed: number): Promise<{ gaps: number[]; steps: number[]; waits: number[]; failed: number }> {
  let now = 0;
  const ledger = createLedgerRunner(config, { slots: SLOTS, slotLength: 1_024 });
  const steps: number[] = [];
  const runner: Runner = {
    ...ledger,
    provider: "native",
    prefill: (slot, tokens, start, wantLogits) => {
      now += prefillMs(tokens.length);
      return ledger.prefill(slot, tokens, start, wantLogits);
    },
    decode: (tokens, positions) => {
      steps.push(stepMs(tokens.length));
      now += stepMs(tokens.length);
      return ledger.decode(tokens, positions);
    },
    copySlot: (from, to, length) => {
      now += copyMs(length);
      return ledger.copySlot(from, to, length);
    },
  };
  const arrivals = Array.from({ length: CHATS }, (_, id) => ({ id, at: 6_000 * prf(seed, id) }));
  const gaps: number[] = [];
  const waits: number[] = [];
  let failed = 0;
  const loop: EngineLoop = new EngineLoop({ runner, text, now: () => now, yieldTurn: async () => arrive() });
  function arrive(): void {
    for (const { id, at } of arrivals.filter((one) => one.at <= now)) {
      arrivals.splice(
        arrivals.findIndex((one) => one.id === id),
        1,
      );
      const length = 8 + Math.floor(500 * prf(seed + 1, id) ** 2);
      const promptTokens = Array.from({ length }, (_, i) => Math.floor(500 * prf(seed + 2 + id, i)));
      const maxTokens = 8 + Math.floor(120 * prf(seed + 3, id));
      let last: number | undefined;
      loop.submit(
        id,
        { promptTokens, sampling: GREEDY, maxTokens, stop: [] },
        {
          onOutput: ({ tokens }) => {
            loop.acknowledge(id, tokens.length);
            if (last === undefined) waits.push(now - at);
            else gaps.push(now - last);
            last = now;
          },
          onError: () => void failed++,
        },
      );
    }
  }
  while (arrivals.length > 0 || loop.size > 0) {
    if (loop.size === 0) now = Math.max(now, Math.min(...arrivals.map(({ at }) => at)));
    arrive();
    await loop.idle();
  }
  return { gaps, steps, waits, failed };
}

test("32 chats at random: none fails, all get on, the 99th percentile of gaps is two decode steps and a share of prompts at most", async () => {
  for (const seed of [10, 20, 30]) {
    const { gaps, steps, waits, failed } = await crowd(seed);
    expect(failed).toBe(0);
    expect(waits).toHaveLength(CHATS);
    // Nobody waits for longer than the whole crowd's work takes.
    expect(Math.max(...waits)).toBeLessThan(60_000);
    const mean = steps.reduce((a, b) => a + b) / steps.length;
    const p99 = gaps.toSorted((a, b) => a - b)[Math.floor(0.99 * gaps.length)]!;
    expect(p99).toBeLessThanOrEqual(2 * mean + prefillMs(PREFILL_BESIDE_DECODE_TOKENS.native));
    // One that never had to wait for a newcomer would not be telling.
    expect(p99).toBeGreaterThan(stepMs(SLOTS));
    // The worst: a step, a share, and copies.
    expect(Math.max(...gaps)).toBeLessThan(stepMs(SLOTS) + prefillMs(PREFILL_BESIDE_DECODE_TOKENS.native) + 10);
  }
});
