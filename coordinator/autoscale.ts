/**
 * Ray Serve's autoscaling (autoscaling_policy.py, replica_queue_length policy) as a pure function of memory, load and time.
 * Knows nothing of deployments or workers.
 */
import type { AutoscalingConfig } from "../protocol/config.ts";
import type { AutoscaleMemory } from "./state.ts";

/** Samples kept of one deployment: a look-back window of ten minutes at one a second. */
const SAMPLES_MAX = 600;

export interface Load {
  readonly nowMs: number;
  /** Queued at callers plus running at replicas, now. */
  readonly total: number;
  readonly running: number;
  /** Replicas wanted until now. */
  readonly target: number;
  readonly min: number;
  readonly max: number;
}

/** `target_capacity` scales a count; what is above zero stays above zero. Halves round up, as in Ray. */
export const atCapacity = (count: number, capacityPercent: number | null): number =>
  capacityPercent === null || count === 0
    ? count
    : capacityPercent === 0
      ? 0
      : Math.max(1, Math.floor((count * capacityPercent) / 100 + 0.5));

/**
 * Replicas for a load, before delays and bounds: total / target_ongoing_requests, with the gain applied to the change.
 * @param current running replicas; with none the gain is not applied
 */
export function rawDesired(total: number, current: number, config: AutoscalingConfig): number {
  if (current === 0) return Math.ceil(total / config.target_ongoing_requests);
  const desired = total / config.target_ongoing_requests;
  const ratio = desired / current;
  const up = config.upscaling_factor ?? config.upscale_smoothing_factor ?? config.smoothing_factor ?? 1;
  const down = config.downscaling_factor ?? config.downscale_smoothing_factor ?? config.smoothing_factor ?? 1;
  const raw = Math.ceil(current + (ratio >= 1 ? up : down) * (desired - current));
  // A small downscaling factor would otherwise stick at the ceiling for ever.
  return ratio < 1 && raw === current ? raw - 1 : raw;
}

/** Time-weighted over the look-back window (mean), or its largest or smallest sample. */
export function aggregate(samples: AutoscaleMemory["samples"], nowMs: number, config: AutoscalingConfig): number {
  const fromMs = nowMs - config.look_back_period_s * 1000;
  const inside = samples.filter((s, i) => s.atMs >= fromMs || (samples[i + 1]?.atMs ?? nowMs) > fromMs);
  if (inside.length === 0) return 0;
  if (config.aggregation_function === "max") return Math.max(...inside.map((s) => s.total));
  if (config.aggregation_function === "min") return Math.min(...inside.map((s) => s.total));
  let area = 0;
  let time = 0;
  inside.forEach((sample, i) => {
    const span = (inside[i + 1]?.atMs ?? nowMs) - Math.max(sample.atMs, fromMs);
    area += sample.total * span;
    time += span;
  });
  return time === 0 ? (inside.at(-1)?.total ?? 0) : area / time;
}

export function autoscale(
  memory: AutoscaleMemory,
  load: Load,
  config: AutoscalingConfig,
): { target: number; memory: AutoscaleMemory } {
  const { nowMs, target, min, max } = load;
  const samples = [...memory.samples, { atMs: nowMs, total: load.total }]
    .filter((s) => s.atMs > nowMs - 2 * config.look_back_period_s * 1000)
    .slice(-SAMPLES_MAX);
  const bounded = (n: number): number => Math.max(min, Math.min(max, n));
  const calm = { samples, upSinceMs: null, downSinceMs: null };

  if (target === 0) {
    // Somebody waits and nothing runs: at once, without delay.
    const wake = load.total > 0 ? Math.max(Math.ceil(config.upscaling_factor ?? 1), 1) : 0;
    return { target: bounded(wake), memory: calm };
  }
  const desired = bounded(
    rawDesired(aggregate(samples, nowMs, config), load.running === 0 ? target : load.running, config),
  );
  if (desired > target) {
    const upSinceMs = memory.upSinceMs ?? nowMs;
    if (nowMs - upSinceMs >= config.upscale_delay_s * 1000) return { target: desired, memory: calm };
    return { target: bounded(target), memory: { samples, upSinceMs, downSinceMs: null } };
  }
  if (desired < target) {
    const downSinceMs = memory.downSinceMs ?? nowMs;
    // Never straight to zero: first one, then zero after a delay of its own.
    const goal = desired === 0 && target > 1 ? 1 : desired;
    const delayS =
      goal === 0 ? (config.downscale_to_zero_delay_s ?? config.downscale_delay_s) : config.downscale_delay_s;
    if (nowMs - downSinceMs >= delayS * 1000) return { target: goal, memory: calm };
    return { target: bounded(target), memory: { samples, upSinceMs: null, downSinceMs } };
  }
  return { target: bounded(target), memory: calm };
}
