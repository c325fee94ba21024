/**
 * Virtual time: a queue of events ordered by time and by the order in which they were planned. Nothing happens between events.
 * Knows nothing of what events do; every event has a label, which goes into the trace.
 */
interface Planned {
  readonly at: number;
  readonly order: number;
  readonly label: string;
  readonly run: () => void;
}

export class VirtualClock {
  /** ms since the start. */
  now = 0;
  readonly trace: Trace;
  #order = 0;
  /** A binary heap. */
  readonly #heap: Planned[] = [];

  constructor(trace: Trace) {
    this.trace = trace;
  }

  /** Plans `run` for `ms` from now; returns how to call it off. */
  after(ms: number, label: string, run: () => void): () => void {
    let live = true;
    this.#push({ at: this.now + Math.max(0, ms), order: this.#order++, label, run: () => live && run() });
    return () => void (live = false);
  }

  /** Runs the next event if it is due by `until`; false: there is none. */
  step(until: number): boolean {
    const next = this.#heap[0];
    if (next === undefined || next.at > until) return false;
    this.#pop();
    this.now = next.at;
    this.trace.add(`${next.at.toFixed(3)} ${next.label}`);
    next.run();
    return true;
  }

  #push(item: Planned): void {
    const heap = this.#heap;
    let i = heap.push(item) - 1;
    for (let up = (i - 1) >> 1; i > 0 && before(item, heap[up]!); up = (i - 1) >> 1) {
      heap[i] = heap[up]!;
      i = up;
    }
    heap[i] = item;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let down = 2 * i + 1;
      if (down >= heap.length) break;
      if (down + 1 < heap.length && before(heap[down + 1]!, heap[down]!)) down += 1;
      if (!before(heap[down]!, last)) break;
      heap[i] = heap[down]!;
      i = down;
    }
    heap[i] = last;
  }
}

const before = (a: Planned, b: Planned): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** What happened, as one number (FNV-1a, 32 bit, Fowler, Noll and Vo) and as the last lines of text. */
export class Trace {
  readonly lines: string[] = [];
  readonly #kept: number;
  #hash = 0x811c9dc5;
  #count = 0;

  /** @param kept lines that stay readable */
  constructor(kept: number) {
    this.#kept = kept;
  }

  add(line: string): void {
    this.#hash = fnv(line, this.#hash);
    this.#count += 1;
    if (this.#kept === 0) return;
    this.lines.push(line);
    if (this.lines.length > 2 * this.#kept) this.lines.splice(0, this.#kept);
  }

  get count(): number {
    return this.#count;
  }
  get hash(): string {
    return this.#hash.toString(16).padStart(8, "0");
  }
}

export function fnv(text: string, from = 0x811c9dc5): number {
  let hash = from;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
