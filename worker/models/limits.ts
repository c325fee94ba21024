/** Every bound of model fetching, with its unit and its reason. */

/** To the hub's response head, ms. Short: behind a firewall the next source should get its turn soon. */
export const HUB_CONNECT_TIMEOUT_MS = 3_000;
/** Without a byte for this long, ms, a download is cut and resumed. */
export const DOWNLOAD_STALL_TIMEOUT_MS = 20_000;
/** Attempts in a row that bring no new byte before a server is given up. */
export const DOWNLOAD_FRUITLESS_ATTEMPTS_MAX = 3;
/** Attempts in all, so that a server that cuts after each few bytes ends too. */
export const DOWNLOAD_ATTEMPTS_MAX = 50;
/** pip's own: seconds to connect, and repetitions. */
export const PIP_TIMEOUT_S = 15;
export const PIP_RETRIES = 2;
/** Kept of a program's error output, characters. */
export const PROGRAM_OUTPUT_MAX = 16_384;
/** Central directory of a wheel, bytes: a wheel has tens of entries, this is room for some 100,000. */
export const ZIP_DIRECTORY_MAX = 8 * 1024 * 1024;
/** Between looks at a lock that another process holds, ms. */
export const LOCK_POLL_MS = 100;
/** Between progress reports, ms. */
export const PROGRESS_INTERVAL_MS = 200;
/** Of a hub's answers about a repository, bytes: a line for each of its files. */
export const HUB_LISTING_MAX = 8 * 1024 * 1024;
/** For such an answer, ms. */
export const HUB_LISTING_TIMEOUT_MS = 20_000;
/** To the head of an answer of the only server that has what is wanted, with its redirects, ms: there is no other source to be quick for. */
export const ANSWER_TIMEOUT_MS = 20_000;
/** Requests after the first one to such a server while it can't be reached, is overloaded or fails: 1 + 2 + 4 + 8 s of pauses. */
export const ASKED_AGAIN_MAX = 4;
/** Before the second request, ms; each later pause is twice as long. */
export const PAUSE_FIRST_MS = 1_000;
/** For one answer with all its requests and pauses, ms. A server that wants to be left alone for longer (`Retry-After`) is given up. */
export const PATIENCE_MAX_MS = 120_000;
/** Redirects in a row from such a server: one to a store of files, perhaps one for a renamed path, and room. */
export const URL_REDIRECTS_MAX = 5;
/** Of a file that a URL names, bytes: some times the largest GGUF files there are. */
export const URL_FILE_MAX = 1024 * 1024 * 1024 * 1024;
/** Of a URL that names a model, characters. */
export const MODEL_URL_MAX = 2_048;
