/** Ray's autoscaling vectors (conformance cases 149, 150, 152, 153, 154). */
import { describe, expect, it } from "vitest";
import { autoscalingConfigSchema, type AutoscalingConfig } from "../../protocol/config.ts";
import { aggregate, atCapacity, autoscale, rawDesired } from "../../coordinator/autoscale.ts";
import type { AutoscaleMemory } from "../../coordinator/state.ts";
import { FakeMesh } from "./fake-mesh.ts";
import { manifest } from "./manifest.ts";

const config = (given: Partial<AutoscalingConfig>): AutoscalingConfig => ({
  ...autoscalingConfigSchema.parse({}),
  ...given,
});
const START: AutoscaleMemory = { samples: [], upSinceMs: null, downSinceMs: null };

/** Decides every `stepS` with the load of that moment only (a short look-back), as Ray's unit tests do. */
function driver(given: Partial<AutoscalingConfig>, from: { target: number; min: number; max: number }) {
  const c = config({ look_back_period_s: 0.001, ...given });
  let memory = START;
  let target = from.target;
  let nowMs = 0;
  return (total: number, running = target, stepS = 1): number => {
    nowMs += stepS * 1000;
    const decided = autoscale(memory, { nowMs, total, running, target, min: from.min, max: from.max }, c);
    ({ target, memory } = decided);
    return target;
  };
}

describe("desired replicas", () => {
  it.each([
    [20, 4],
    [100, 20],
    [10, 2],
  ])("running 4, target 5, total %i: %i (149)", (total, replicas) => {
    expect(rawDesired(total, 4, config({ target_ongoing_requests: 5 }))).toBe(replicas);
  });
  it("gain applies to the change, and a small one never sticks (152)", () => {
    expect(rawDesired(30, 2, config({ target_ongoing_requests: 1, upscaling_factor: 0.5 }))).toBe(16);
    expect(rawDesired(0, 2, config({ target_ongoing_requests: 1, downscaling_factor: 0.2 }))).toBe(1);
  });
  it("with replicas that are slow to start counts requests, not replicas (150)", () => {
    const step = driver(
      { target_ongoing_requests: 1, upscale_delay_s: 0, downscale_delay_s: 600 },
      { target: 1, min: 1, max: 200 },
    );
    expect(step(100, 1)).toBe(100);
    expect(step(123, 3)).toBe(123);
    expect(step(10, 4)).toBe(123);
  });
  it("factor 10 goes to one, then to zero; factor 0.2 in five steps (152)", () => {
    const quick = driver(
      { downscaling_factor: 10, upscale_delay_s: 0, downscale_delay_s: 0 },
      { target: 5, min: 0, max: 5 },
    );
    expect([quick(0), quick(0)]).toEqual([1, 0]);
    const slow = driver(
      { downscaling_factor: 0.2, upscale_delay_s: 0, downscale_delay_s: 0 },
      { target: 5, min: 0, max: 5 },
    );
    expect([slow(0), slow(0), slow(0), slow(0), slow(0)]).toEqual([4, 3, 2, 1, 0]);
  });
});

describe("delays", () => {
  const delays = {
    target_ongoing_requests: 1,
    upscale_delay_s: 30,
    downscale_delay_s: 600,
    downscale_to_zero_delay_s: 300,
  };
  it("an upscale needs 30 s without a break; one opposite decision starts the clock again (153)", () => {
    const step = driver(delays, { target: 1, min: 0, max: 2 });
    for (let s = 0; s < 20; s += 1) expect(step(2)).toBe(1);
    expect(step(0)).toBe(1);
    for (let s = 0; s < 30; s += 1) expect(step(2)).toBe(1);
    expect(step(2)).toBe(2);
  });
  it("a downscale needs 600 s, the last replica 300 s more (153)", () => {
    const step = driver(delays, { target: 2, min: 0, max: 2 });
    for (let s = 0; s < 600; s += 1) expect(step(0)).toBe(2);
    expect(step(0)).toBe(1);
    for (let s = 0; s < 300; s += 1) expect(step(0)).toBe(1);
    expect(step(0)).toBe(0);
  });
  it("from zero at once, by the upscaling factor", () => {
    const step = driver({ ...delays, upscaling_factor: 1.5 }, { target: 0, min: 0, max: 5 });
    expect(step(0)).toBe(0);
    expect(step(1)).toBe(2);
  });
  it("a load that swings never changes it with delays, and is followed without (154)", () => {
    const calm = driver(
      { target_ongoing_requests: 50, upscale_delay_s: 30, downscale_delay_s: 30 },
      { target: 1, min: 1, max: 10 },
    );
    const lively = driver(
      { target_ongoing_requests: 50, upscale_delay_s: 0, downscale_delay_s: 0 },
      { target: 1, min: 1, max: 10 },
    );
    for (let trial = 0; trial < 1_000; trial += 1) {
      expect(calm(trial % 2 === 0 ? 100 : 40)).toBe(1);
      expect(lively(trial % 2 === 0 ? 100 : 40)).toBe(trial % 2 === 0 ? 2 : 1);
    }
  });
});

it("loads are weighted by time over the look-back window", () => {
  const samples = [
    { atMs: 0, total: 100 },
    { atMs: 10_000, total: 10 },
    { atMs: 30_000, total: 40 },
  ];
  expect(aggregate(samples, 40_000, config({ look_back_period_s: 30 }))).toBeCloseTo((10 * 20 + 40 * 10) / 30);
  expect(aggregate(samples, 40_000, config({ look_back_period_s: 30, aggregation_function: "max" }))).toBe(40);
  expect(aggregate(samples, 40_000, config({ look_back_period_s: 30, aggregation_function: "min" }))).toBe(10);
});

it.each([
  [4, null, 4],
  [4, 50, 2],
  [5, 50, 3],
  [1, 1, 1],
  [4, 0, 0],
  [0, 50, 0],
  [10, 100, 10],
])("%i at capacity %s: %i", (count, capacity, replicas) => {
  expect(atCapacity(count, capacity)).toBe(replicas);
});

it("a deployment follows the load that ingresses report, within its bounds", async () => {
  const mesh = new FakeMesh();
  mesh.worker("a", { cpus: 20 });
  await mesh.run(50);
  const autoscaling = {
    min_replicas: 0,
    max_replicas: 3,
    target_ongoing_requests: 2,
    upscale_delay_s: 0,
    downscale_delay_s: 2,
    look_back_period_s: 1,
  };
  await mesh.deploy([{ manifest: manifest({ D: { autoscaling_config: autoscaling } }) }]);
  await mesh.run(500);
  expect(mesh.status.applications["default"]).toMatchObject({
    status: "RUNNING",
    deployments: { D: { target_num_replicas: 0, replicas: [] } },
  });
  const load = (queued: number, ongoing: number) =>
    mesh.loop.dispatch({
      type: "measured",
      ingress: "i" as never,
      nowMs: mesh.nowMs,
      stats: {
        type: "stats",
        held: null,
        deployments: [{ app: "default", deployment: "D", queued, ongoing, links: 1 }],
      },
    });
  await load(1, 0);
  expect(mesh.states("default")).toEqual(["STARTING"]);
  expect(mesh.status.applications["default"]?.deployments["D"]).toMatchObject({
    status: "UPSCALING",
    status_trigger: "AUTOSCALING",
  });
  for (let s = 0; s < 4; s += 1) {
    await load(10, 10);
    await mesh.run(1_000);
  }
  expect(mesh.states("default")).toEqual(["RUNNING", "RUNNING", "RUNNING"]);
  await load(0, 0);
  await mesh.run(10_000);
  expect(mesh.states("default")).toEqual([]);
  expect(mesh.status.applications["default"]).toMatchObject({
    status: "RUNNING",
    deployments: { D: { status: "HEALTHY", status_trigger: "DOWNSCALE_COMPLETED" } },
  });
});
