/**
 * What a verb may use of the world, as arguments: the terminal, the environment, the clock, the network, and the wish to stop.
 * `main.ts` makes the real one; tests make their own. Types only.
 */
import type { Fetch } from "./fetch.ts";
import type { Progress } from "./progress.ts";

export interface Shell {
  /** Data, to stdout, as it is. */
  readonly out: (text: string) => void;
  /** A message for people, to stderr, a line of its own. */
  readonly note: (line: string) => void;
  readonly progress: Progress;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Folder of keys, state, logs and models; the option `--data-dir` wins over it. */
  readonly dataDirectory: string;
  readonly stdin: NodeJS.ReadStream;
  /** Whether stdout is a terminal. */
  readonly terminal: boolean;
  readonly fetch: Fetch;
  /** Monotonic, ms. */
  readonly now: () => number;
  /** Resolves after `ms`, or at once when the signal is aborted (default: `stop`). */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  /** Calls back every `ms` until it is called off by what it returns; keeps no process from ending. */
  readonly every: (ms: number, callback: () => void) => () => void;
  /** Aborted by the first Ctrl-C (or SIGTERM, SIGHUP): end in order. */
  readonly stop: AbortSignal;
  /** Aborted by the second: end now. */
  readonly kill: AbortSignal;
}
