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
/** The mesh finds (and perhaps downloads) a model, ms. */
export const MODEL_TIMEOUT_MS = 30 * 60_000;
/** Without a byte for this long, ms, a file of a model is asked for anew, from where it stopped. */
export const MODEL_STALL_MS = 30_000;
/** Attempts in a row that bring no new byte of a file before it is given up. */
export const MODEL_FRUITLESS_MAX = 3;
/** A file of a model up to this size, bytes, is fetched whole when it is opened: what describes a model, Gemma's tokenizer of 33 MiB included. */
export const MODEL_SMALL_MAX = 64 * MIB;
/** What has come of a file goes to the browser's own store in pieces of this size, bytes. */
export const BLOB_PIECE_BYTES = 16 * MIB;
/** The largest array that Chrome gives, bytes: weights are one. */
export const MODEL_PIECE_MAX = 2_145_386_496;
/** Where a browser doesn't say how much memory there is, bytes. */
export const MEMORY_DEFAULT = 4 * 1024 * MIB;
