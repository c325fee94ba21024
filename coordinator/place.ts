/**
 * Which worker a pending replica goes to: feasible ones first, then SPREAD (fewest replicas of this deployment, fewest of any, most room).
 * Every replica that can't be placed carries its reason, one sentence per worker. Pure.
 */
import { RESOURCE_EPSILON } from "../protocol/control.ts";
import { deploymentId } from "../protocol/ids.ts";
import type { PlannedEvent } from "./events.ts";
import { reservation } from "./peers.ts";
import type { CodeVersion, Resources, State, WorkerState } from "./state.ts";

interface Room {
  readonly worker: WorkerState;
  free: Resources;
  /** Replicas by deployment id, and of all. */
  readonly counts: Map<string, number>;
  total: number;
}

export function planPlacement(state: State): PlannedEvent[] {
  const pending = Object.values(state.replicas).filter((r) => r.phase === "pending");
  if (pending.length === 0) return [];
  const rooms = Object.values(state.workers)
    .filter((w) => w.connected && w.reported)
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map((worker) => roomOf(state, worker));
  const events: PlannedEvent[] = [];
  for (const replica of pending) {
    const deployment = state.desired.apps[replica.app]?.target?.deployments[replica.deployment];
    const code = deployment?.codes[replica.code];
    if (code === undefined) continue;
    const id = deploymentId(replica.app, replica.deployment);
    const problems: string[] = [];
    let best: Room | null = null;
    for (const room of rooms) {
      const problem = obstacle(room, code, id);
      if (problem !== null) problems.push(`${room.worker.capabilities.name || room.worker.id}: ${problem}`);
      else if (best === null || rank(room, best, code, id) < 0) best = room;
    }
    if (best === null) {
      const reason = rooms.length === 0 ? "No worker has joined." : `No worker has room. ${problems.join("; ")}.`;
      if (reason !== replica.reason) events.push({ type: "replicaUnplaceable", replica: replica.id, reason });
      continue;
    }
    const reserved = reservation(code.requirements, best.free.gpus);
    take(best, reserved, id);
    events.push({ type: "replicaPlaced", replica: replica.id, worker: best.worker.id, gpus: reserved.gpus });
  }
  return events;
}

function roomOf(state: State, worker: WorkerState): Room {
  const c = worker.capabilities;
  const room: Room = {
    worker,
    free: { cpus: c.cpus, gpus: c.gpus, memory: c.memory, custom: c.resources },
    counts: new Map(),
    total: 0,
  };
  for (const replica of Object.values(state.replicas))
    if (replica.worker === worker.id)
      take(room, replica.reserved, deploymentId(replica.app, replica.deployment), replica.phase !== "stopping");
  return room;
}

function take(room: Room, reserved: Resources, id: string, counts = true): void {
  const custom = { ...room.free.custom };
  for (const [name, amount] of Object.entries(reserved.custom)) custom[name] = (custom[name] ?? 0) - amount;
  room.free = {
    cpus: room.free.cpus - reserved.cpus,
    gpus: room.free.gpus - reserved.gpus,
    memory: room.free.memory - reserved.memory,
    custom,
  };
  if (!counts) return;
  room.counts.set(id, (room.counts.get(id) ?? 0) + 1);
  room.total += 1;
}

/** Why this worker can't take it, or null. */
function obstacle(room: Room, code: CodeVersion, id: string): string | null {
  const needs = code.requirements;
  const short = (what: string, want: number, free: number, has: number): string =>
    `needs ${tidy(want)} ${what}, has ${tidy(Math.max(free, 0))} free of ${tidy(has)}`;
  const c = room.worker.capabilities;
  if (c.kind === "browser" && code.needsNode !== null) return `is a browser, and ${code.needsNode}`;
  if (needs.cpus > room.free.cpus + RESOURCE_EPSILON) return short("CPU", needs.cpus, room.free.cpus, c.cpus);
  if (needs.gpus !== "auto" && needs.gpus > room.free.gpus + RESOURCE_EPSILON)
    return short("GPU", needs.gpus, room.free.gpus, c.gpus);
  if (needs.memory > room.free.memory + RESOURCE_EPSILON)
    return short("bytes of memory", needs.memory, room.free.memory, c.memory);
  for (const [name, amount] of Object.entries(needs.custom))
    if (amount > (room.free.custom[name] ?? 0) + RESOURCE_EPSILON)
      return short(name, amount, room.free.custom[name] ?? 0, c.resources[name] ?? 0);
  const limit = code.maxReplicasPerNode;
  if (limit !== null && (room.counts.get(id) ?? 0) >= limit)
    return `has ${limit} replica(s) of this deployment already (max_replicas_per_node)`;
  return null;
}

const tidy = (n: number): string => String(Math.round(n * 1000) / 1000);

/** Negative when `a` is the better place. */
function rank(a: Room, b: Room, code: CodeVersion, id: string): number {
  const gpu = code.requirements.gpus === "auto" ? Number(b.free.gpus >= 1) - Number(a.free.gpus >= 1) : 0;
  return gpu || (a.counts.get(id) ?? 0) - (b.counts.get(id) ?? 0) || a.total - b.total || b.free.cpus - a.free.cpus;
}

/** For status and tests: what is left of a worker. */
export const freeOf = (state: State, worker: WorkerState): Resources => roomOf(state, worker).free;
