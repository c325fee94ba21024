/** Reads little-endian values from the front of a file of which only a prefix is at hand. Knows no format beyond numbers and strings. */
import { CheckpointError } from "./error.ts";

/** The prefix ended too early: the caller comes back with at least `needed` bytes. */
export class PrefixTooShort extends Error {
  readonly needed: number;
  constructor(needed: number) {
    super(`the header needs at least ${needed} bytes`);
    this.needed = needed;
  }
}

export class Cursor {
  position = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #mostBytes: number;
  readonly #decoder = new TextDecoder();

  /** `mostBytes`: how far the header may reach at all; asking for more is the file's fault. */
  constructor(prefix: Uint8Array, mostBytes: number) {
    this.#bytes = prefix;
    this.#view = new DataView(prefix.buffer, prefix.byteOffset, prefix.byteLength);
    this.#mostBytes = mostBytes;
  }

  /** Moves past `count` bytes that must be there; returns where they begin. */
  #take(count: number): number {
    const at = this.position;
    const end = at + count;
    if (end > this.#mostBytes) {
      throw new CheckpointError(
        `the header asks for ${count} bytes at byte ${at}, beyond its limit of ${this.#mostBytes} bytes or the end of the file: ` +
          "the file is cut off or damaged; fetch it again",
      );
    }
    if (end > this.#bytes.byteLength) throw new PrefixTooShort(end);
    this.position = end;
    return at;
  }

  uint8 = (): number => this.#view.getUint8(this.#take(1));
  int8 = (): number => this.#view.getInt8(this.#take(1));
  uint16 = (): number => this.#view.getUint16(this.#take(2), true);
  int16 = (): number => this.#view.getInt16(this.#take(2), true);
  uint32 = (): number => this.#view.getUint32(this.#take(4), true);
  int32 = (): number => this.#view.getInt32(this.#take(4), true);
  float32 = (): number => this.#view.getFloat32(this.#take(4), true);
  float64 = (): number => this.#view.getFloat64(this.#take(8), true);
  uint64 = (): bigint => this.#view.getBigUint64(this.#take(8), true);
  int64 = (): bigint => this.#view.getBigInt64(this.#take(8), true);

  /** A 64-bit count or offset that must be at most `most`; `what` names it in the error. */
  count(what: string, most: number): number {
    const at = this.position;
    const value = this.uint64();
    if (value > BigInt(most)) {
      throw new CheckpointError(
        `${what} at byte ${at} is ${value}, more than the ${most} allowed: the file is damaged or not meant for this reader`,
      );
    }
    return Number(value);
  }

  /** A UTF-8 string with a 64-bit length in front, of at most `mostBytes`. */
  string(what: string, mostBytes: number): string {
    const length = this.count(`the length of ${what}`, mostBytes);
    const at = this.#take(length);
    return this.#decoder.decode(this.#bytes.subarray(at, at + length));
  }
}
