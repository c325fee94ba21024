/**
 * How long a server is waited for, and how often it is asked again: a fetch that has the patience. Knows which failures pass; what is
 * asked, and what an answer means, is its callers' business.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { SkeinError } from "../../protocol/errors.ts";
import {
  ANSWER_TIMEOUT_MS,
  ASKED_AGAIN_MAX,
  HUB_CONNECT_TIMEOUT_MS,
  PATIENCE_MAX_MS,
  PAUSE_FIRST_MS,
} from "./limits.ts";
import type { OnProgress } from "./progress.ts";

export interface Patience {
  /** To the head of an answer, ms. */
  readonly answerMs: number;
  /** Requests after the first one. */
  readonly again: number;
}

/** With a server for which another source can stand in. */
export const QUICK: Patience = { answerMs: HUB_CONNECT_TIMEOUT_MS, again: 0 };
/** With the only one that has what is wanted. */
export const PATIENT: Patience = { answerMs: ANSWER_TIMEOUT_MS, again: ASKED_AGAIN_MAX };

export interface Asker {
  readonly fetch: typeof globalThis.fetch;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** Rejects when the signal is aborted. Default: real time. */
  readonly pause?: ((ms: number, signal: AbortSignal) => Promise<void>) | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/** Overloaded, about to restart, or asked too often: all of them pass. */
const PASSING = [408, 425, 429, 500, 502, 503, 504];

/**
 * Asks as `fetch` does, and again after growing pauses, or the one that the server wishes, while what failed may pass. Then it rejects
 * or answers as the last request did. Errors of ours are verdicts, and end it at once.
 */
export function asking({ answerMs, again }: Patience, { fetch, now, ...asker }: Asker): typeof globalThis.fetch {
  return async (input, init) => {
    const signal = init?.signal ?? new AbortController().signal;
    const until = now() + PATIENCE_MAX_MS;
    const once = (): Promise<Response> => answered(fetch, input, init, signal, answerMs);
    for (let attempt = 0; ; attempt += 1) {
      const mayPause = (ms: number): boolean => attempt < again && now() + ms <= until;
      let pauseMs = PAUSE_FIRST_MS * 2 ** attempt;
      try {
        const response = await once();
        if (!PASSING.includes(response.status)) return response;
        pauseMs = wishOf(response) ?? pauseMs;
        if (!mayPause(pauseMs)) return response;
        await response.body?.cancel();
      } catch (thrown) {
        if (signal.aborted || thrown instanceof SkeinError || !mayPause(pauseMs)) throw thrown;
      }
      asker.onProgress?.({ stage: "pausing", bytes: 0, total: 0, bytesPerSecond: 0 });
      await pauseFor(asker, pauseMs, signal);
    }
  };
}

/** Waits before something is tried again. */
export function pauseFor({ pause = realPause }: Pick<Asker, "pause">, ms: number, signal: AbortSignal): Promise<void> {
  return pause(ms, signal);
}

const realPause = (ms: number, signal: AbortSignal): Promise<void> => sleep(ms, undefined, { signal });

/** One request. Its head has a limit; its body is read as long as the caller's signal lets it. */
async function answered(
  fetch: typeof globalThis.fetch,
  input: Parameters<typeof globalThis.fetch>[0],
  init: RequestInit | undefined,
  signal: AbortSignal,
  answerMs: number,
): Promise<Response> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error(`gave no answer within ${answerMs / 1000} s`)), answerMs);
  try {
    return await fetch(input, { ...init, signal: AbortSignal.any([signal, late.signal]) });
  } finally {
    clearTimeout(timer);
  }
}

/** How long a server wants to be left alone (`Retry-After`), ms; undefined where it doesn't say. A date is told from the server's own clock. */
export function wishOf({ headers }: Response): number | undefined {
  const wish = headers.get("retry-after");
  if (wish === null) return undefined;
  const ms = /^\d+$/.test(wish) ? Number(wish) * 1000 : Date.parse(wish) - Date.parse(headers.get("date") ?? "");
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/** Such as `answered 429 and asks to be left alone for 3600 s`. */
export function statusWords(response: Response): string {
  const wish = PASSING.includes(response.status) ? wishOf(response) : undefined;
  const alone = wish === undefined ? "" : ` and asks to be left alone for ${Math.ceil(wish / 1000)} s`;
  return `answered ${response.status}${alone}`;
}
