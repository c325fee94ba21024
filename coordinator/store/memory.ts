/** StateStore in memory: for tests and the simulation. What it holds survives a "restart" as long as the object does. */
import { RevisionConflict, Watchers, type Entry, type StateStore } from "./store.ts";

export class MemoryStore implements StateStore {
  readonly #entries = new Map<string, Entry>();
  readonly #leases = new Map<string, { holder: string; untilMs: number }>();
  readonly #watchers = new Watchers();

  get(key: string): Promise<Entry | null> {
    return Promise.resolve(this.#entries.get(key) ?? null);
  }

  put(key: string, value: string, expected: number): Promise<number> {
    const found = this.#entries.get(key)?.revision ?? 0;
    if (found !== expected) return Promise.reject(new RevisionConflict(key, expected, found));
    const entry = { value, revision: found + 1 };
    this.#entries.set(key, entry);
    this.#watchers.tell(key, entry);
    return Promise.resolve(entry.revision);
  }

  watch(key: string, listener: (entry: Entry) => void): () => void {
    return this.#watchers.add(key, listener);
  }

  lease(name: string, holder: string, ttlMs: number, nowMs: number): Promise<boolean> {
    const held = this.#leases.get(name);
    if (held !== undefined && held.holder !== holder && held.untilMs > nowMs) return Promise.resolve(false);
    this.#leases.set(name, { holder, untilMs: nowMs + ttlMs });
    return Promise.resolve(true);
  }

  close(): void {}
}
