/** The logs of this worker's replicas: which file is whose, which are open, how many are kept. */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { LOG_FILES_MAX } from "./limits.ts";
import { olderHalf, ReplicaLog, type LogClock } from "./replica-log.ts";

export class LogFolder {
  readonly #folder: string;
  readonly #clock: LogClock;
  readonly #open = new Map<string, ReplicaLog>();

  constructor(folder: string, clock: LogClock) {
    this.#folder = folder;
    this.#clock = clock;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** Where a replica's log is or would be. Ids never become paths: a readable part, and a hash that tells ids apart. */
  pathOf(replica: string): string {
    const readable = replica.replace(/[^A-Za-z0-9_-]+/g, "_").slice(0, 80);
    return join(this.#folder, `${readable}-${createHash("sha256").update(replica).digest("hex").slice(0, 8)}.log`);
  }

  open(replica: string): ReplicaLog {
    let log = this.#open.get(replica);
    if (log === undefined) {
      this.#prune();
      log = new ReplicaLog(this.pathOf(replica), this.#clock);
      this.#open.set(replica, log);
    }
    return log;
  }

  /** The log of a replica that runs; undefined: it has ended, what there is lies at `pathOf`. */
  opened(replica: string): ReplicaLog | undefined {
    return this.#open.get(replica);
  }

  close(replica: string): void {
    this.#open.get(replica)?.end();
    this.#open.delete(replica);
  }

  /** The oldest go when there are too many. */
  #prune(): void {
    const files = readdirSync(this.#folder)
      .filter((name) => name.endsWith(".log"))
      .map((name) => join(this.#folder, name));
    if (files.length < LOG_FILES_MAX) return;
    const openPaths = new Set([...this.#open.values()].map((log) => log.path));
    const byAge = files
      .filter((path) => !openPaths.has(path))
      .sort((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs);
    for (const path of byAge.slice(0, files.length - LOG_FILES_MAX + 1)) {
      rmSync(path, { force: true });
      rmSync(olderHalf(path), { force: true });
    }
  }
}
