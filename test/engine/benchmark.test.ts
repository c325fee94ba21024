import { expect, test } from "vitest";
import { BENCHMARK_SLOT_LENGTH, BENCHMARK_SLOTS, measureEngine } from "../../engine/benchmark.ts";
import { EngineClient } from "../../engine/client.ts";
import { spawnNodeEngine } from "../../engine/spawn-node.ts";

test(
  "measures every figure on an engine behind a thread; the second turn prefills only what is new",
  {
    timeout: 120_000,
  },
  async () => {
    const engine = await EngineClient.start({
      spawn: () => spawnNodeEngine(new URL("../support/reference-engine-thread.ts", import.meta.url)),
      after: () => () => {},
    });
    const spec = { prepared: {}, provider: "auto", threads: 1 } as const;
    const loaded = await engine.load({ ...spec, slots: BENCHMARK_SLOTS, slotLength: BENCHMARK_SLOT_LENGTH });
    let slept = 0;
    const figures = await measureEngine(engine, loaded, 8, {
      now: () => performance.now(),
      sleep: async (ms) => void (slept += ms),
    });
    await engine.close();
    expect(slept).toBeGreaterThan(0);
    expect(figures).toMatchObject({ crowdFailed: 0, secondTurnPrefilled: 17, secondTurnNew: 17 });
    for (const [name, value] of Object.entries(figures)) {
      expect(value, name).toSatisfy(Number.isFinite);
      if (name !== "crowdFailed") expect(value, name).toBeGreaterThan(0);
    }
  },
);
