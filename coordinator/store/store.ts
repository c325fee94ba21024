/**
 * StateStore: where desired state is kept. Values are JSON text; each key has a revision that rises by one with every put.
 * Implementations: memory.ts (tests, simulation), sqlite.ts (one file). Both run one contract suite.
 */
export interface Entry {
  readonly value: string;
  readonly revision: number;
}

export interface StateStore {
  get(key: string): Promise<Entry | null>;
  /**
   * Durable when it resolves.
   * @param expected revision that the key must have now; 0: it must not exist
   * @returns the new revision
   * @throws RevisionConflict when somebody else has put meanwhile
   */
  put(key: string, value: string, expected: number): Promise<number>;
  /** Calls after each put of `key`, until the returned function is called. */
  watch(key: string, listener: (entry: Entry) => void): () => void;
  /** Takes or renews `name` for `holder` until `nowMs + ttlMs`; false while another holds it. */
  lease(name: string, holder: string, ttlMs: number, nowMs: number): Promise<boolean>;
  close(): void;
}

export class RevisionConflict extends Error {
  constructor(key: string, expected: number, found: number) {
    super(`"${key}" has revision ${found}, not ${expected}: another coordinator has written it.`);
    this.name = "RevisionConflict";
  }
}

/** Listeners by key, shared by implementations. */
export class Watchers {
  readonly #listeners = new Map<string, Set<(entry: Entry) => void>>();

  add(key: string, listener: (entry: Entry) => void): () => void {
    const set = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, set.add(listener));
    return () => set.delete(listener);
  }

  tell(key: string, entry: Entry): void {
    for (const listener of this.#listeners.get(key) ?? []) listener(entry);
  }
}
