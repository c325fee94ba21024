/**
 * What may have become of a request when something died (design, Retry): nothing is lost that may run twice, nothing runs twice that may not,
 * and nobody gets an answer but his own, once. A pure function of what the client saw, what the replicas ran, and who was hurt.
 */
import type { Outcome } from "./load.ts";
import type { Run } from "./observer.ts";

export const TARGETS = ["replica", "agent", "ingress", "coordinator"] as const;
export type Target = (typeof TARGETS)[number];
export const FAULTS = ["kill", "stop"] as const;
export type Fault = (typeof FAULTS)[number];

export interface Harm {
  readonly target: Target;
  readonly fault: Fault;
  /** Replicas that it took away, or that stood still. */
  readonly pids: readonly number[];
  /** From the fault until a request was answered again, ms since 1970. */
  readonly from: number;
  readonly until: number;
}

/** What a client may still feel after all was well again for the first one: connections that die in its pool, ms. */
const AFTERMATH_MS = 500;
/** A replica that was hurt may be heard of this long after it last ran, ms. */
const HEARD_LATE_MS = 500;

/** What `verdict` says of a failure that nothing can prevent. */
export const EXCUSED = Symbol("excused");

/** Null: as it must be; else EXCUSED, or what is wrong. */
export function verdict(outcome: Outcome, runs: readonly Run[], harm: Harm): typeof EXCUSED | string | null {
  const twice = ranTooOften(outcome, runs, harm);
  if (twice !== null) return twice;
  if (outcome.wrong === null) {
    if (runs.length === 0) return "answered, but no replica has run it";
    return runs.some((run) => run.ended) ? null : "answered, but no replica has run it to its end";
  }
  return isExcused(outcome, harm) ? EXCUSED : outcome.wrong;
}

function ranTooOften(
  { kind, startedAt }: Outcome,
  runs: readonly Run[],
  { target, fault, pids, from }: Harm,
): string | null {
  if (runs.length <= 1) return null;
  const where = runs.map((run) => `${run.pid}${run.ended ? "" : " (not to its end)"}`).join(", ");
  if (kind === "post") return `ran ${runs.length} times without a key: on ${where}`;
  if (runs.length > 2) return `ran ${runs.length} times: on ${where}`;
  // A frozen ingress has lost all its links when it goes on, and can't know what had been done behind them.
  if (target === "ingress" && fault === "stop") return null;
  // What had come in before a replica was frozen may begin when it goes on; what came meanwhile must not.
  return runs.some((run) => pids.includes(run.pid) && (run.at <= from + HEARD_LATE_MS || startedAt <= from))
    ? null
    : `ran twice, though nothing had happened to the first replica: on ${where}`;
}

function isExcused({ kind, wrong, cut, broken, status, startedAt, ms }: Outcome, harm: Harm): boolean {
  const { target, fault, from, until } = harm;
  if (target === "coordinator" || (target === "agent" && fault === "stop")) return false;
  if (startedAt + ms < from || startedAt > until + AFTERMATH_MS || wrong === "no answer in time") return false;
  // Nobody is there to answer.
  if (target === "ingress" && fault === "kill") return broken;
  // Something of it was delivered: never restarted.
  if (kind === "stream") return cut;
  return kind === "post" && status === 500;
}
