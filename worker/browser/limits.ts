/** Every bound of the worker in a tab, with its unit and its reason. */
import { KIB, MIB } from "../../protocol/limits.ts";

/** Log of one replica, characters, kept in memory: a tab has no disk that others may read. */
export const TAB_LOG_MAX = 256 * KIB;
/** Logs of ended replicas that are kept for those who ask why. */
export const TAB_LOGS_MAX = 32;
/** What a log reader may lag, bytes, before lines are left out for it. */
export const TAB_READER_LAG_MAX = 1 * MIB;
/** Applications' code that is kept by hash. */
export const BUNDLES_MAX = 32;
/** A manifest or bundle from the mesh, whole, ms. */
export const BLOB_TIMEOUT_MS = 30_000;
/** The mesh finds (and perhaps downloads) a checkpoint, ms. */
export const MODEL_TIMEOUT_MS = 30 * 60_000;
/** Where a browser doesn't say how much memory there is, bytes. */
export const MEMORY_DEFAULT = 4 * 1024 * MIB;
