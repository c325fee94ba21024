/**
 * Downloads one file of a Hugging Face hub, resuming where an earlier attempt was cut (HTTP range requests).
 * Knows HTTP; which file is right is the partial file's business.
 */
import { SkeinError } from "../../protocol/errors.ts";
import type { CatalogueModel } from "./catalogue.ts";
import { cancelled, finalFailure, systemCode } from "./failure.ts";
import {
  HUB_ATTEMPTS_MAX,
  HUB_CONNECT_TIMEOUT_MS,
  HUB_FRUITLESS_ATTEMPTS_MAX,
  HUB_STALL_TIMEOUT_MS,
  PROGRESS_INTERVAL_MS,
} from "./limits.ts";
import type { OnProgress } from "./progress.ts";
import { type Content, openPartial, type PartialFile } from "./verified-file.ts";

/** What must be known of a file to take it from a hub. */
export type HubFile = Content & Pick<CatalogueModel, "hub">;

export interface HubOptions {
  readonly endpoint: string;
  /** Of a user, for repositories that not everybody may read. */
  readonly token?: string | undefined;
  readonly fetch: typeof globalThis.fetch;
  readonly now: () => number;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
  /** Where bytes are kept until the file is whole: the same path next time resumes. */
  readonly partial: string;
}

/** Address of a file in the hub: `<endpoint>/<repository>/resolve/<revision>/<file>`. */
export function hubUrl(endpoint: string, { repository, revision, file }: CatalogueModel["hub"]): string {
  return `${endpoint.replace(/\/+$/, "")}/${repository}/resolve/${revision}/${file}`;
}

/**
 * Downloads `model` into `target`. Throws `UNAVAILABLE` when the hub can't be reached, refuses, or keeps cutting off (what came is
 * kept), and `INVALID_ARGUMENT` when its file isn't the pinned one.
 */
export async function downloadFromHub(model: HubFile, target: string, options: HubOptions): Promise<void> {
  let fruitless = 0;
  let failure: unknown;
  for (let attempt = 0; attempt < HUB_ATTEMPTS_MAX && fruitless < HUB_FRUITLESS_ATTEMPTS_MAX; attempt += 1) {
    const partial = await openPartial(options.partial, model, true);
    const before = partial.bytes;
    try {
      if (!partial.complete) await receive(model, partial, options);
      if (partial.complete) return await partial.finish(target);
    } catch (thrown) {
      failure = thrown;
      if (options.signal.aborted) throw cancelled(thrown);
      if (thrown instanceof SkeinError || finalFailure(thrown, options.partial) !== undefined) throw thrown;
      // Never connected: no use in knocking again, another source may be quicker.
      if (before === 0 && partial.bytes === 0) break;
    } finally {
      await partial.close();
    }
    fruitless = partial.bytes > before ? 0 : fruitless + 1;
  }
  throw new SkeinError("UNAVAILABLE", `${options.endpoint} ${reason(failure)}`, { cause: failure });
}

/** The header that says who asks. */
export function authorization(token: string | undefined): Record<string, string> {
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** One request: appends what comes after the bytes that are already here. */
async function receive(model: HubFile, partial: PartialFile, options: HubOptions): Promise<void> {
  const watchdog = new AbortController();
  const expire = (limit: string) => () => watchdog.abort(new Error(limit));
  let timer = setTimeout(expire(`gave no answer within ${HUB_CONNECT_TIMEOUT_MS / 1000} s`), HUB_CONNECT_TIMEOUT_MS);
  try {
    const offset = partial.bytes;
    const response = await options.fetch(hubUrl(options.endpoint, model.hub), {
      // Fetch leaves the token out where the hub sends us on to another host.
      headers: { range: `bytes=${offset}-`, "accept-encoding": "identity", ...authorization(options.token) },
      signal: AbortSignal.any([options.signal, watchdog.signal]),
    });
    const start = startOf(response);
    if (start === undefined || response.body === null) {
      await response.body?.cancel();
      throw new SkeinError(
        "UNAVAILABLE",
        `${options.endpoint} answered ${response.status} for ${model.hub.repository}`,
      );
    }
    // A server that ignores ranges sends everything from the start: what is already here is skipped.
    let skip = offset - start;
    if (skip < 0) throw new SkeinError("UNAVAILABLE", `${options.endpoint} sent another range than was asked for`);

    const began = options.now();
    let reported = began;
    for await (const chunk of response.body) {
      clearTimeout(timer);
      timer = setTimeout(expire(`sent nothing for ${HUB_STALL_TIMEOUT_MS / 1000} s`), HUB_STALL_TIMEOUT_MS);
      const skipped = Math.min(skip, chunk.byteLength);
      skip -= skipped;
      await partial.append(chunk.subarray(skipped));
      const now = options.now();
      if (now - reported < PROGRESS_INTERVAL_MS && !partial.complete) continue;
      reported = now;
      const bytesPerSecond = now > began ? ((partial.bytes - offset) * 1000) / (now - began) : 0;
      options.onProgress({ stage: "hub", bytes: partial.bytes, total: model.bytes, bytesPerSecond });
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
