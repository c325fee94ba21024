/**
 * A lock between processes, on a file. It is SQLite's own exclusive lock, because the operating system lets go of that when its
 * holder dies, however it dies: there are no stale locks to guess about.
 */
import { DatabaseSync } from "node:sqlite";
import { cancelled } from "./failure.ts";
import { LOCK_POLL_MS } from "./limits.ts";

const SQLITE_BUSY = 5;

/** Runs `body` while no other process (or caller) runs one under the same `path`. `onWait` is called once if it has to wait. */
export async function withLock<T>(
  path: string,
  { signal, onWait }: { readonly signal: AbortSignal; readonly onWait: () => void },
  body: () => Promise<T>,
): Promise<T> {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    for (let waited = false; !tryLock(database); waited = true) {
      if (!waited) onWait();
      if (signal.aborted) throw cancelled(signal.reason);
      await new Promise((resolve) => setTimeout(resolve, LOCK_POLL_MS));
    }
    return await body();
  } finally {
    database.close();
  }
}

function tryLock(database: DatabaseSync): boolean {
  try {
    database.exec("BEGIN EXCLUSIVE");
    return true;
  } catch (error) {
    if (error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY) return false;
    throw error;
  }
}
