/** User code's health: asked every period, with a timeout; three failures in a row are ill health, as in Ray Serve. */
import type { ReplicaPlatform } from "./platform.ts";

const FAILURES_MAX = 3;

export interface HealthOptions {
  readonly periodMs: number;
  readonly timeoutMs: number;
  check(): Promise<void>;
  /** `error` undefined: healthy (again). */
  changed(error: string | undefined): void;
}

/** Starts checking; returns how to stop. */
export function watchHealth(platform: Pick<ReplicaPlatform, "after">, options: HealthOptions): () => void {
  let failures = 0;
  let stopped = false;
  let stopTimer = (): void => {};
  const round = async (): Promise<void> => {
    const error = await checkOnce(platform, options);
    if (stopped) return;
    const before = failures;
    failures = error === undefined ? 0 : failures + 1;
    if (failures === FAILURES_MAX) options.changed(error);
    else if (failures === 0 && before >= FAILURES_MAX) options.changed(undefined);
    stopTimer = platform.after(options.periodMs, () => void round());
  };
  stopTimer = platform.after(options.periodMs, () => void round());
  return () => {
    stopped = true;
    stopTimer();
  };
}

/** The error's text, undefined when it is well. */
export async function checkOnce(
  platform: Pick<ReplicaPlatform, "after">,
  options: Pick<HealthOptions, "timeoutMs" | "check">,
): Promise<string | undefined> {
  let stop = (): void => {};
  const timeout = new Promise<string>((resolve) => {
    stop = platform.after(options.timeoutMs, () =>
      resolve(`The health check took longer than ${options.timeoutMs / 1000} s.`),
    );
  });
  try {
    const check = options.check().then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? `${error.name}: ${error.message}` : String(error)),
    );
    return await Promise.race([check, timeout]);
  } finally {
    stop();
  }
}
