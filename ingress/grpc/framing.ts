/** gRPC's length-prefixed messages (a flag byte, four bytes of length, the message) to pieces and back. Pure. */
import { GRPC_MESSAGE_MAX } from "../../protocol/limits.ts";

const PREFIX = 5;
const EMPTY = new Uint8Array(0);

export type FramingError = "compressed" | "tooLarge";

/** Cuts a byte stream into pieces of messages without joining them. */
export class MessageReader {
  readonly #prefix = new Uint8Array(PREFIX);
  #prefixLength = 0;
  /** Bytes of the present message that are still to come. */
  #left = 0;

  /** False in the middle of a message: the stream may not end here. */
  get between(): boolean {
    return this.#left === 0 && this.#prefixLength === 0;
  }

  /** `each` gets views of `data`; `more`: the message goes on. Not to be called again after an error. */
  push(data: Uint8Array, each: (piece: Uint8Array, more: boolean) => void): FramingError | null {
    for (let at = 0; at < data.byteLength;) {
      if (this.#left === 0) {
        this.#prefix[this.#prefixLength++] = data[at++]!;
        if (this.#prefixLength < PREFIX) continue;
        this.#prefixLength = 0;
        if (this.#prefix[0] !== 0) return "compressed";
        this.#left = new DataView(this.#prefix.buffer).getUint32(1);
        if (this.#left > GRPC_MESSAGE_MAX) return "tooLarge";
        if (this.#left === 0) each(EMPTY, false);
      } else {
        const piece = data.subarray(at, at + this.#left);
        at += piece.byteLength;
        this.#left -= piece.byteLength;
        each(piece, this.#left > 0);
      }
    }
    return null;
  }
}

/** One message of these pieces, `size` bytes together, ready to be sent. */
export function framed(pieces: readonly Uint8Array[], size: number): Buffer {
  const prefix = Buffer.alloc(PREFIX);
  prefix.writeUInt32BE(size, 1);
  return Buffer.concat([prefix, ...pieces], PREFIX + size);
}
