/**
 * What to do so that a worker holds what it should: a pure function of the assignment, of what is held, and of time.
 * Level-triggered: it never matters how the two came apart, nor how often this is called. Knows nothing of processes or connections.
 */
import { compareVersions } from "../../protocol/ids.ts";
import {
  type Assignment,
  type Capabilities,
  type IngressSpec,
  type ReplicaSpec,
  RESOURCE_EPSILON,
} from "../../protocol/control.ts";
import { INGRESS_DRAIN_MS, LEAVE_REPLICA_MIN_MS } from "./limits.ts";

export interface HeldReplica {
  /** What it was last told. */
  readonly spec: ReplicaSpec;
  /** ended: it failed; nothing runs, and it is reported until it leaves the assignment. gone: it may be forgotten. */
  readonly phase: "live" | "stopping" | "ended" | "gone";
  /** Time (ms) at which a stopping one is killed. */
  readonly killAt: number | null;
}

export interface HeldIngress {
  readonly spec: IngressSpec;
  readonly phase: "live" | "stopping" | "crashed" | "gone";
  readonly killAt: number | null;
  /** Time (ms) at which a crashed one may start again. */
  readonly retryAt: number | null;
}

export interface Held {
  /** What the worker has to give. */
  readonly room: Pick<Capabilities, "cpus" | "gpus" | "memory">;
  readonly replicas: ReadonlyMap<string, HeldReplica>;
  readonly ingress: HeldIngress | null;
}

export type Action =
  | { readonly do: "startReplica"; readonly spec: ReplicaSpec }
  | { readonly do: "reconfigureReplica"; readonly spec: ReplicaSpec }
  | { readonly do: "stopReplica"; readonly replica: string; readonly timeoutMs: number; readonly waitLoopMs: number }
  | { readonly do: "killReplica"; readonly replica: string }
  | { readonly do: "forgetReplica"; readonly replica: string }
  | { readonly do: "startIngress"; readonly spec: IngressSpec }
  | { readonly do: "alterIngress"; readonly spec: IngressSpec }
  | { readonly do: "stopIngress"; readonly drainMs: number }
  | { readonly do: "killIngress" }
  | { readonly do: "forgetIngress" };

/** The newer of two assignments. The same version again is taken too: the coordinator repeats itself on disagreement. */
export function newerAssignment(held: Assignment | null, offered: Assignment): Assignment {
  return held !== null && compareVersions(offered.version, held.version) < 0 ? held : offered;
}

/**
 * Actions in the order in which to carry them out. Before the first assignment, and while it is unknown, nothing is started or stopped.
 * `leaveBy`: the worker is on its way out, and whoever waits for it hopes for it to be gone by then (ms): first the ingress stops taking
 * requests, then the replicas go, whatever the assignment says.
 */
export function reconcile(
  assignment: Assignment | null,
  held: Held,
  now: number,
  leaveBy: number | null = null,
): Action[] {
  if (leaveBy !== null) return leave(held, now, leaveBy);
  const ingress = ingressActions(assignment === null ? undefined : assignment.ingress, held.ingress, now);
  const wanted = assignment === null ? null : new Map(assignment.replicas.map((spec) => [spec.replica, spec]));
  const assigned = new Set(wanted?.keys());
  const actions: Action[] = [];
  for (const [id, replica] of held.replicas) {
    const spec = wanted === null ? replica.spec : wanted.get(id);
    wanted?.delete(id);
    const action = replicaAction(id, replica, spec, now);
    if (action !== null) actions.push(action);
  }
  actions.push(...starts([...(wanted?.values() ?? [])], held, assigned));
  return [...ingress, ...actions];
}

/**
 * New replicas, while there is room beside those that are still going. A coordinator counts these in before it assigns anything, but not
 * those that another coordinator had the worker start.
 */
function starts(specs: readonly ReplicaSpec[], { room, replicas }: Held, assigned: ReadonlySet<string>): Action[] {
  const running = [...replicas.values()].filter(({ phase }) => phase === "live" || phase === "stopping");
  // Where nothing makes room, waiting is of no use: the coordinator knows what it does.
  const someLeave = running.some(({ spec, phase }) => phase === "stopping" || !assigned.has(spec.replica));
  const free = { ...room };
  const take = (spec: ReplicaSpec): void => RESERVED.forEach((kind) => void (free[kind] -= spec[kind]));
  for (const { spec } of running) take(spec);
  return specs
    .filter((spec) => {
      const fits = RESERVED.every((kind) => spec[kind] <= free[kind] + RESOURCE_EPSILON);
      if (fits) take(spec);
      return fits || !someLeave;
    })
    .map((spec) => ({ do: "startReplica", spec }));
}

const RESERVED = ["cpus", "gpus", "memory"] as const;

function replicaAction(id: string, held: HeldReplica, spec: ReplicaSpec | undefined, now: number): Action | null {
  if (held.phase === "stopping") return due(held.killAt, now) ? { do: "killReplica", replica: id } : null;
  if (held.phase === "gone") return { do: "forgetReplica", replica: id };
  // A newer incarnation of the same id needs the old one's place; an older one is a message that came late.
  const replaced = spec === undefined || spec.incarnation > held.spec.incarnation;
  if (replaced && held.phase === "ended") return { do: "forgetReplica", replica: id };
  if (replaced) return stopReplica(id, held.spec, Number.POSITIVE_INFINITY);
  const current = spec.incarnation === held.spec.incarnation && held.phase === "live";
  return current && needsTelling(held.spec, spec) ? { do: "reconfigureReplica", spec } : null;
}

function stopReplica(id: string, spec: ReplicaSpec, timeoutMaxMs: number): Action {
  const timeoutMs = Math.min(spec.gracefulShutdownTimeoutS * 1000, timeoutMaxMs);
  return {
    do: "stopReplica",
    replica: id,
    timeoutMs,
    waitLoopMs: Math.min(spec.gracefulShutdownWaitLoopS * 1000, timeoutMs),
  };
}

const needsTelling = (told: ReplicaSpec, spec: ReplicaSpec): boolean =>
  spec.userConfigVersion > told.userConfigVersion ||
  (spec.userConfigVersion === told.userConfigVersion &&
    (spec.maxOngoingRequests !== told.maxOngoingRequests || spec.ticket !== told.ticket));

/** `spec` undefined: not known yet. */
function ingressActions(spec: IngressSpec | null | undefined, held: HeldIngress | null, now: number): Action[] {
  if (held === null) return spec == null ? [] : [{ do: "startIngress", spec }];
  if (held.phase === "gone") return [{ do: "forgetIngress" }];
  if (held.phase === "stopping") return due(held.killAt, now) ? [{ do: "killIngress" }] : [];
  const wanted = spec === undefined ? held.spec : spec;
  if (held.phase === "crashed") {
    if (wanted === null) return [{ do: "forgetIngress" }];
    return due(held.retryAt, now) ? [{ do: "startIngress", spec: wanted }] : [];
  }
  if (wanted === null || wanted.ingress !== held.spec.ingress)
    return [{ do: "stopIngress", drainMs: INGRESS_DRAIN_MS }];
  return sameIngress(wanted, held.spec) ? [] : [{ do: "alterIngress", spec: wanted }];
}

/** Specs are JSON from one writer: equal ones have equal text. */
const sameIngress = (a: IngressSpec, b: IngressSpec): boolean => JSON.stringify(a) === JSON.stringify(b);

function leave(held: Held, now: number, leaveBy: number): Action[] {
  const ingress = ingressActions(null, held.ingress, now);
  // Replicas serve the requests that the ingress still has: they go after it.
  const draining = held.ingress !== null && (held.ingress.phase === "live" || held.ingress.phase === "stopping");
  const actions: Action[] = [];
  for (const [id, replica] of held.replicas) {
    if (replica.phase === "stopping") {
      if (due(replica.killAt, now)) actions.push({ do: "killReplica", replica: id });
    } else if (replica.phase === "ended" || replica.phase === "gone")
      actions.push({ do: "forgetReplica", replica: id });
    else if (!draining)
      actions.push(
        stopReplica(
          id,
          { ...replica.spec, gracefulShutdownWaitLoopS: 0 },
          Math.max(LEAVE_REPLICA_MIN_MS, leaveBy - now),
        ),
      );
  }
  return [...ingress, ...actions];
}

const due = (time: number | null, now: number): boolean => time !== null && now >= time;
