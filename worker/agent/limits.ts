/** Every bound of the agent, with its unit and its reason. */
import { CHILD_LOOK_MS, CHILD_SILENT_LOOKS_MAX, CHILD_SILENT_LOOKS_STARTING_MAX } from "../../protocol/limits.ts";

/** From the opening of a control connection to `welcome`, ms. */
export const JOIN_TIMEOUT_MS = 5_000;
/** Reconnecting: full jitter below a bound that doubles from the base to the cap, ms. */
export const RECONNECT_BASE_MS = 250;
export const RECONNECT_CAP_MS = 5_000;
/** Changes within this time, ms, travel as one report. */
export const REPORT_COALESCE_MS = 5;
/** A report at least this often, ms: levels are repeated, so a lost one is made good. */
export const REPORT_INTERVAL_MS = 2_000;
/** What engines tell of themselves travels once in so many ticks: metrics are looked at every few seconds. */
export const ENGINES_EVERY_TICKS = 4;
/** The agent looks after silence, kills that are due and back-offs this often, ms. */
export const TICK_MS = CHILD_LOOK_MS;
/** Ticks in a row without a sign of life, after which a ready replica is called unhealthy, then killed. Ticks, not times: after the
 * whole machine slept every replica has been silent for long, but for one tick only. */
export const SILENT_TICKS_UNHEALTHY = 8;
export const SILENT_TICKS_KILL = 20;
/** The same while it starts: importing code and building a model may hold its main thread. */
export const SILENT_TICKS_KILL_STARTING = CHILD_SILENT_LOOKS_STARTING_MAX;
/** Beyond what it was given to drain, ms, before a process is killed. */
export const STOP_GRACE_MS = 1_000;
/** What an ingress may take to finish the requests it has when it is stopped, ms. */
export const INGRESS_DRAIN_MS = 5_000;
/** When the whole worker stops, a person waits in front of it: ingress and replicas together have this long, ms, to drain; ... */
export const LEAVE_WITHIN_MS = 5_000;
/** ... and a replica this long, ms, when the ingress has used it up. */
export const LEAVE_REPLICA_MIN_MS = 500;
/** An ingress that hangs is ended like a replica, and sooner: all clients of its host wait for it. Long enough for a moment's freeze to pass. */
export const SILENT_TICKS_KILL_INGRESS = CHILD_SILENT_LOOKS_MAX;
/** A crashed ingress starts again: at once the first time, then after a doubling time up to the cap, ms; a calm while forgets. */
export const INGRESS_RETRY_BASE_MS = 250;
export const INGRESS_RETRY_CAP_MS = 5_000;
/** The cap for one that had been ready: all clients of its host wait, and it can be ready again. */
export const INGRESS_RETRY_SERVED_CAP_MS = 500;
export const INGRESS_CALM_MS = 10_000;
/** Attempts to fetch a bundle, and what lies between them, ms. */
export const FETCH_ATTEMPTS = 3;
export const FETCH_RETRY_MS = 500;
