import { expect, test } from "vitest";
import { BENCHMARK_SHORT, BENCHMARK_SLOT_LENGTH, BENCHMARK_SLOTS, measureEngine } from "../../engine/benchmark.ts";
import { EngineClient } from "../../engine/client.ts";
import { spawnNodeEngine } from "../../engine/spawn-node.ts";

test(
  "measures every figure on an engine behind a thread; the second turn prefills only what is new",
  {
    timeout: 300_000,
  },
  async () => {
    const engine = await EngineClient.start({
      spawn: () => spawnNodeEngine(new URL("../support/reference-engine-thread.ts", import.meta.url)),
      after: () => () => {},
    });
    const spec = { prepared: {}, provider: "auto", threads: 1 } as const;
    const loaded = await engine.load({ ...spec, slots: BENCHMARK_SLOTS, slotLength: BENCHMARK_SLOT_LENGTH });
    let slept = 0;
    const figures = await measureEngine(engine, loaded, BENCHMARK_SHORT, {
      now: () => performance.now(),
      sleep: async (ms) => void (slept += ms),
    });
    await engine.close();
    expect(slept).toBeGreaterThan(0);
    expect(figures).toMatchObject({ crowdFailed: 0, secondTurnPrefilled: 17, secondTurnNew: 17 });
    // All but what was new, of 332 tokens.
    expect(figures.secondTurnCached).toBeCloseTo(315 / 332, 5);
    // They come at once here: some have slots, the others wait.
    expect(figures.crowdRunningMost).toBeGreaterThan(1);
    expect(figures.crowdRunningMost).toBeLessThanOrEqual(BENCHMARK_SLOTS);
    expect(figures.crowdWaitingMost).toBeGreaterThan(8);
    expect(figures.crowdKvUsageMost).toBeLessThanOrEqual(1);
    for (const [name, value] of Object.entries(figures)) {
      expect(value, name).toSatisfy(Number.isFinite);
      if (name !== "crowdFailed") expect(value, name).toBeGreaterThan(0);
    }
  },
);
