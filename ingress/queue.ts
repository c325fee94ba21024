/**
 * Requests that wait for a replica: first in, first out; one that comes back from a replica keeps its place by arrival.
 * Leaving (cancelled, out of time) is O(1). Knows nothing of replicas; never polls: its owner takes from it when something completes.
 */
export interface Queued {
  /** Rises with every request of the ingress. */
  readonly arrival: number;
}

export class Queue<T extends Queued> {
  /** A Set keeps the order of insertion and deletes in O(1). */
  readonly #fresh = new Set<T>();
  /** Came back, sorted by arrival: all are older than the fresh ones, and few. */
  readonly #returned: T[] = [];

  get length(): number {
    return this.#fresh.size + this.#returned.length;
  }

  push(item: T): void {
    this.#fresh.add(item);
  }

  /** Puts back what had been taken. */
  putBack(item: T): void {
    const at = this.#returned.findIndex((other) => other.arrival > item.arrival);
    this.#returned.splice(at < 0 ? this.#returned.length : at, 0, item);
  }

  first(): T | undefined {
    return this.#returned[0] ?? this.#fresh.values().next().value;
  }

  /** False: it did not wait here. */
  remove(item: T): boolean {
    if (this.#fresh.delete(item)) return true;
    const at = this.#returned.indexOf(item);
    if (at >= 0) this.#returned.splice(at, 1);
    return at >= 0;
  }

  /** Empties the queue, in order. */
  drain(): T[] {
    const all = [...this.#returned, ...this.#fresh];
    this.#returned.length = 0;
    this.#fresh.clear();
    return all;
  }
}
