/**
 * When a host's ingress is no longer wanted (its last replica went, or it was the head's) it is emptied before it goes, as Ray's proxies are:
 * it says so to whoever asks for its health, serves on, and ends when load balancers have had time to see it and nothing runs. Pure.
 */
import type { HostId } from "../protocol/ids.ts";
import type { PlannedEvent } from "./events.ts";
import { ingressIdOf, wantedIngresses } from "./project.ts";
import type { State, WorkerState } from "./state.ts";

/** Load balancers get this long, ms, to see that a host is being drained (Ray's RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S). */
export const DRAIN_MIN_MS = 30_000;

export function planDrains(state: State, nowMs: number): PlannedEvent[] {
  const wanted = wantedIngresses(state);
  const held = new Map<HostId, WorkerState>();
  for (const worker of Object.values(state.workers)) if (worker.ingress !== null) held.set(worker.host, worker);
  const events: PlannedEvent[] = [];
  for (const [host, worker] of held)
    if (!wanted.has(host) && state.draining[host] === undefined)
      events.push({ type: "ingressDrains", host, over: !hasClients(worker), nowMs });
  for (const [name, { sinceMs, over }] of Object.entries(state.draining)) {
    const host = name as HostId;
    if (wanted.has(host) || !held.has(host)) events.push({ type: "ingressSettled", host });
    else if (!over && nowMs - sinceMs >= DRAIN_MIN_MS && isIdle(state, host))
      events.push({ type: "ingressDrained", host });
  }
  return events;
}

const hasClients = ({ ingress }: WorkerState): boolean => ingress?.http != null || ingress?.grpc != null;

const isIdle = (state: State, host: HostId): boolean =>
  Object.values(state.stats[ingressIdOf(host)]?.load ?? {}).every(({ queued, ongoing }) => queued + ongoing === 0);
