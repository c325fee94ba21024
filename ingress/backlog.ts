/**
 * What this ingress holds for those who read slowly, over all its requests: answers that clients (or calling replicas) have not taken.
 * One of them holds a stream's window at most; this bounds their sum. Above half of the bound replicas send one chunk at a time; above
 * the bound those who have taken nothing for longest are cut off. Whoever reads at all moves behind those who don't. Pure.
 */
import { FRAME_HEADER } from "../protocol/frame.ts";
import { BACKLOG_MAX, FRAME_PAYLOAD_MAX, STREAM_WINDOW } from "../protocol/limits.ts";

/** Somebody for whom bytes are held. */
export interface Reader {
  /** Bytes held for it. Ours to change, as is `late`. */
  backlog: number;
  /** It is in the order of those who may be cut. */
  late: boolean;
  /** What is held for it is to leave memory at once, and nothing more is to come. */
  cut(): void;
}

/** Who holds less than this, bytes, isn't worth cutting: small answers cost two additions and no place in the order. */
const LATE_FROM = 4 * 1024;
/** The least with which a stream moves. */
const ONE_CHUNK = FRAME_PAYLOAD_MAX + FRAME_HEADER;

export class Backlog {
  /** Bytes held now. */
  total = 0;
  /** Readers that were cut off. */
  cuts = 0;
  readonly #max: number;
  /** The first has taken nothing for longest. */
  readonly #late = new Set<Reader>();

  /** @param max bytes; others than BACKLOG_MAX are for tests */
  constructor(max = BACKLOG_MAX) {
    this.#max = max;
  }

  /** What a stream may have under way, bytes. */
  get window(): number {
    return this.total > this.#max / 2 ? ONE_CHUNK : STREAM_WINDOW;
  }

  /** `bytes` more are held for the reader. It may be cut off for them, or others. */
  hold(reader: Reader, bytes: number): void {
    this.total += bytes;
    reader.backlog += bytes;
    if (reader.backlog > LATE_FROM && !reader.late) {
      reader.late = true;
      this.#late.add(reader);
    }
    if (this.total > this.#max) this.#cut();
  }

  /** The reader has taken `bytes`, or they were dropped. */
  taken(reader: Reader, bytes: number): void {
    // Of one that was cut off nothing is counted any more.
    const counted = Math.min(bytes, reader.backlog);
    this.total -= counted;
    reader.backlog -= counted;
    if (!reader.late) return;
    this.#late.delete(reader);
    reader.late = reader.backlog > 0;
    if (reader.late) this.#late.add(reader);
  }

  #cut(): void {
    for (const reader of this.#late) {
      if (this.total <= this.#max) return;
      this.#late.delete(reader);
      reader.late = false;
      this.total -= reader.backlog;
      reader.backlog = 0;
      this.cuts += 1;
      reader.cut();
    }
  }
}
