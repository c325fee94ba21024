/** Writing to a stream at the reader's pace. */
import { SkeinError } from "../../protocol/errors.ts";
import type { ChunkType, Stream } from "../../protocol/stream.ts";

const encoder = new TextEncoder();

export class Outgoing {
  readonly #stream: Stream;
  #wake: (() => void) | undefined;
  constructor(stream: Stream) {
    this.#stream = stream;
  }

  /** For the stream's events: goes on. Also to be called when the stream is over, so that nobody waits for ever. */
  resume(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** Undefined: written, write on. A promise: wait for it. Rejects with `CANCELLED` when the stream is over. */
  write(type: ChunkType, piece: Uint8Array | string): Promise<void> | undefined {
    if (this.#stream.closed) return Promise.reject(new SkeinError("CANCELLED", "The caller is gone."));
    if (typeof piece === "string" ? this.#stream.write(type, encoder.encode(piece)) : this.#stream.write(type, piece))
      return undefined;
    return this.#writable();
  }

  async #writable(): Promise<void> {
    await new Promise<void>((resolve) => (this.#wake = resolve));
    if (this.#stream.closed) throw new SkeinError("CANCELLED", "The caller is gone.");
  }
}
