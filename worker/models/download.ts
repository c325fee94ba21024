/**
 * Downloads one file from a web server, resuming where an earlier attempt was cut (HTTP range requests), or reads ranges of it.
 * Knows HTTP; where the file is, is its sources' business, and which content is right is the partial file's.
 */
import type { ByteSource } from "../../engine/gguf/source.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { cancelled, finalFailure, systemCode } from "./failure.ts";
import {
  DOWNLOAD_ATTEMPTS_MAX,
  DOWNLOAD_FRUITLESS_ATTEMPTS_MAX,
  DOWNLOAD_STALL_TIMEOUT_MS,
  PATIENCE_MAX_MS,
  PAUSE_FIRST_MS,
  PROGRESS_INTERVAL_MS,
} from "./limits.ts";
import { type Asker, asking, PATIENT, type Patience, pauseFor, statusWords } from "./patience.ts";
import type { FetchProgress, OnProgress } from "./progress.ts";
import { type Content, openPartial, type PartialFile } from "./verified-file.ts";

/** Where a file is, and how it is asked for. */
export interface RemoteFile {
  readonly url: string;
  /** Such as the token of a user, for files that not everybody may read. */
  readonly headers: Readonly<Record<string, string>>;
  /** Who is asked for what, in errors. */
  readonly server: string;
  readonly label: string;
  readonly stage: FetchProgress["stage"];
  readonly patience: Patience;
}

export interface DownloadOptions extends Asker {
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
  /** Where bytes are kept until the file is whole: the same path next time resumes. */
  readonly partial: string;
}

/**
 * Downloads `file` into `target`. Throws `UNAVAILABLE` when its server can't be reached, refuses, or keeps cutting off (what came is
 * kept), and `INVALID_ARGUMENT` when what came isn't `content`.
 */
export async function download(
  file: RemoteFile,
  content: Content,
  target: string,
  options: DownloadOptions,
): Promise<void> {
  let fruitless = 0;
  let failure: unknown;
  // A server that has given something is worth waiting for, whoever else may have it.
  let { patience } = file;
  for (let attempt = 0; attempt < DOWNLOAD_ATTEMPTS_MAX && fruitless < DOWNLOAD_FRUITLESS_ATTEMPTS_MAX; attempt += 1) {
    if (fruitless > 0 && patience.again > 0)
      await pauseFor(options, PAUSE_FIRST_MS * 2 ** (fruitless - 1), options.signal).catch((thrown: unknown) => {
        throw cancelled(thrown);
      });
    const partial = await openPartial(options.partial, content, true);
    const before = partial.bytes;
    try {
      if (!partial.complete) await receive({ ...file, patience }, content, partial, options);
      if (partial.complete) return await partial.finish(target);
    } catch (thrown) {
      failure = thrown;
      if (options.signal.aborted) throw cancelled(thrown);
      if (thrown instanceof SkeinError || finalFailure(thrown, options.partial) !== undefined) throw thrown;
    } finally {
      await partial.close();
    }
    fruitless = partial.bytes > before ? 0 : fruitless + 1;
    if (partial.bytes > before) patience = PATIENT;
  }
  throw new SkeinError("UNAVAILABLE", `${file.server} ${reason(failure)}`, { cause: failure });
}

/** One request: appends what comes after the bytes that are already here. */
async function receive(
  file: RemoteFile,
  content: Content,
  partial: PartialFile,
  options: DownloadOptions,
): Promise<void> {
  const watchdog = new AbortController();
  const expire = (): void => watchdog.abort(new Error(`sent nothing for ${DOWNLOAD_STALL_TIMEOUT_MS / 1000} s`));
  let timer: NodeJS.Timeout | undefined;
  try {
    const offset = partial.bytes;
    const response = await asking(file.patience, options)(file.url, {
      // Fetch leaves a token out where a server sends us on to another host.
      headers: { range: `bytes=${offset}-`, "accept-encoding": "identity", ...file.headers },
      signal: AbortSignal.any([options.signal, watchdog.signal]),
    }).catch((cause: unknown) => {
      if (cause instanceof SkeinError || options.signal.aborted) throw cause;
      throw new SkeinError("UNAVAILABLE", `${file.server} ${reason(cause)}`, { cause });
    });
    timer = setTimeout(expire, DOWNLOAD_STALL_TIMEOUT_MS);
    const start = startOf(response);
    if (start === undefined || response.body === null) {
      await response.body?.cancel();
      throw new SkeinError("UNAVAILABLE", `${file.server} ${statusWords(response)} for ${file.label}`);
    }
    // A server that ignores ranges sends everything from the start: what is already here is skipped.
    let skip = offset - start;
    if (skip < 0) throw new SkeinError("UNAVAILABLE", `${file.server} sent another range than was asked for`);

    const began = options.now();
    let reported = began;
    for await (const chunk of response.body) {
      clearTimeout(timer);
      timer = setTimeout(expire, DOWNLOAD_STALL_TIMEOUT_MS);
      const skipped = Math.min(skip, chunk.byteLength);
      skip -= skipped;
      await partial.append(chunk.subarray(skipped));
      const now = options.now();
      if (now - reported < PROGRESS_INTERVAL_MS && !partial.complete) continue;
      reported = now;
      const bytesPerSecond = now > began ? ((partial.bytes - offset) * 1000) / (now - began) : 0;
      options.onProgress({ stage: file.stage, bytes: partial.bytes, total: content.bytes, bytesPerSecond });
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Offset of the first byte of a response's body in the file; undefined when the response is not the file. */
function startOf(response: Response): number | undefined {
  if (response.status === 200) return 0;
  if (response.status !== 206) return undefined;
  const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
  return start === undefined ? undefined : Number(start);
}

function reason(failure: unknown): string {
  const code = systemCode(failure);
  if (code !== undefined) return `can't be reached (${code})`;
  return failure instanceof Error ? failure.message : "cut the download off again and again";
}

/** `file` of `size` bytes, read by ranges: for what its head says, before all of it is fetched. */
export function rangesOf(
  file: RemoteFile,
  size: number,
  { signal, ...asker }: Asker & { readonly signal?: AbortSignal | undefined },
): ByteSource {
  return {
    size,
    async read(offset, length) {
      const timeout = AbortSignal.timeout(PATIENCE_MAX_MS + DOWNLOAD_STALL_TIMEOUT_MS);
      try {
        const response = await asking(file.patience, asker)(file.url, {
          headers: { range: `bytes=${offset}-${offset + length - 1}`, "accept-encoding": "identity", ...file.headers },
          signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
        });
        if (response.status !== 206 && response.status !== 200) {
          await response.body?.cancel();
          throw new SkeinError("UNAVAILABLE", `${file.server} ${statusWords(response)} for ${file.label}`);
        }
        return await firstBytes(response, response.status === 200 ? offset : 0, length, file.server);
      } catch (cause) {
        if (cause instanceof SkeinError) throw cause;
        if (signal?.aborted) throw cancelled(cause);
        throw new SkeinError("UNAVAILABLE", `${file.server} ${reason(cause)}`, { cause });
      }
    },
  };
}

/** `length` bytes after `skip`: a server that ignores ranges sends everything. */
async function firstBytes(response: Response, skip: number, length: number, server: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let at = -skip;
  for await (const chunk of response.body ?? []) {
    const part = chunk.subarray(Math.max(0, -at), Math.max(0, length - at));
    bytes.set(part, Math.max(0, at));
    at += chunk.byteLength;
    if (at >= length) return bytes;
  }
  throw new SkeinError("UNAVAILABLE", `the answer of ${server} ended too early`);
}
