/**
 * StateStore in one SQLite file (node:sqlite), durable at each put. The file is locked for this process as long as it is open:
 * a second coordinator on the same data directory is refused, and a lock never outlives its process.
 */
import { DatabaseSync } from "node:sqlite";
import { SkeinError } from "../../protocol/errors.ts";
import { RevisionConflict, Watchers, type Entry, type StateStore } from "./store.ts";

/** Layout of the file; each entry brings it from the version before. */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE entries (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL) STRICT;
   CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_ms INTEGER NOT NULL) STRICT;`,
];

export class SqliteStore implements StateStore {
  readonly #db: DatabaseSync;
  readonly #watchers = new Watchers();

  /** @throws CONFLICT when another process has the file open, INVALID_ARGUMENT when a newer Skein wrote it */
  constructor(file: string) {
    try {
      this.#db = new DatabaseSync(file);
      this.#db.exec(
        "PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
      );
      this.#db.exec("BEGIN IMMEDIATE; COMMIT;");
    } catch (cause) {
      if (/locked|busy/i.test(String(cause)))
        throw new SkeinError(
          "CONFLICT",
          `Another coordinator uses ${file}. Stop it, or choose another data directory with SKEIN_DATA_DIR.`,
          { cause },
        );
      throw cause;
    }
    this.#migrate(file);
  }

  #migrate(file: string): void {
    const { user_version: found } = this.#db.prepare("PRAGMA user_version").get() as { user_version: number };
    if (found > MIGRATIONS.length)
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `${file} was written by a newer Skein (layout ${found}, this one knows ${MIGRATIONS.length}). Upgrade Skein, or choose another data directory.`,
      );
    for (let version = found; version < MIGRATIONS.length; version += 1)
      this.#db.exec(`BEGIN; ${MIGRATIONS[version]} PRAGMA user_version = ${version + 1}; COMMIT;`);
  }

  get(key: string): Promise<Entry | null> {
    return Promise.resolve(this.#read(key));
  }

  #read(key: string): Entry | null {
    const row = this.#db.prepare("SELECT value, revision FROM entries WHERE key = ?").get(key) as Entry | undefined;
    return row === undefined ? null : { value: row.value, revision: row.revision };
  }

  put(key: string, value: string, expected: number): Promise<number> {
    try {
      const changed =
        expected === 0
          ? this.#db
              .prepare("INSERT INTO entries (key, value, revision) VALUES (?, ?, 1) ON CONFLICT DO NOTHING")
              .run(key, value).changes
          : this.#db
              .prepare("UPDATE entries SET value = ?, revision = revision + 1 WHERE key = ? AND revision = ?")
              .run(value, key, expected).changes;
      if (Number(changed) !== 1)
        return Promise.reject(new RevisionConflict(key, expected, this.#read(key)?.revision ?? 0));
    } catch (cause) {
      const full = /full|disk|I\/O/i.test(String(cause));
      return Promise.reject(
        new SkeinError(
          full ? "UNAVAILABLE" : "INTERNAL",
          full
            ? "The state could not be stored: the disk is full or fails. Free some space and try again."
            : "The state could not be stored.",
          { cause },
        ),
      );
    }
    this.#watchers.tell(key, { value, revision: expected + 1 });
    return Promise.resolve(expected + 1);
  }

  watch(key: string, listener: (entry: Entry) => void): () => void {
    return this.#watchers.add(key, listener);
  }

  lease(name: string, holder: string, ttlMs: number, nowMs: number): Promise<boolean> {
    const { changes } = this.#db
      .prepare(
        "INSERT INTO leases (name, holder, until_ms) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms WHERE holder = excluded.holder OR until_ms <= ?",
      )
      .run(name, holder, nowMs + ttlMs, nowMs);
    return Promise.resolve(Number(changes) === 1);
  }

  close(): void {
    this.#db.close();
  }
}
