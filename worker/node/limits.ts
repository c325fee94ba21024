/** Every bound of the Node worker, with its unit and its reason. (The agent's own are in worker/agent.) */
import { KIB, MIB } from "../../protocol/limits.ts";

/** One line of a replica's log, bytes; a longer one is cut into several. */
export const LOG_LINE_MAX = 16 * KIB;
/** Log lines wait for the disk this long, ms, and up to this many bytes; beyond, they are dropped and counted. */
export const LOG_FLUSH_MS = 50;
export const LOG_PENDING_MAX = 256 * KIB;
/** Log files of ended replicas that are kept for those who ask why. */
export const LOG_FILES_MAX = 200;
/** What a log reader may lag, bytes, before lines are left out for it. */
export const LOG_READER_LAG_MAX = 1 * MIB;
/** End of a replica's error output that explains its death, characters. */
export const LAST_WORDS_MAX = 2_000;
/** A manifest or bundle from the mesh: response head, and a stall, ms. */
export const BLOB_TIMEOUT_MS = 30_000;
/** Manifests and bundles on this disk, bytes: beyond, those that no replica was started with for longest go, if that is an hour ago (ms). */
export const BUNDLES_CACHE_MAX = 2048 * MIB;
export const BUNDLE_GRACE_MS = 3600_000;
/** A probe of GPU or add-on, ms: Dawn starts in 0.1 s, a broken driver may hang. */
export const PROBE_TIMEOUT_MS = 20_000;
/** How long a probe's result is believed, ms: drivers and GPUs change seldom. */
export const PROBE_LIFETIME_MS = 24 * 3600_000;
/** A first join that doesn't succeed within this, ms, is told to the person who asked for it. */
export const FIRST_JOIN_TIMEOUT_MS = 15_000;
/** Connection attempt of the control link, ms. */
export const HANDSHAKE_TIMEOUT_MS = 4_000;
/** Workers with a data directory in common. */
export const WORKERS_PER_DIRECTORY_MAX = 256;
/** What a headless browser may take to start and for one answer, such as a tab that leaves while its replicas drain, ms. */
export const PAGE_TIMEOUT_MS = 60_000;
/** A browser that was told to close is killed after this, ms. */
export const TAB_CLOSE_MS = 3_000;
