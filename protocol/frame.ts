/**
 * Frames: the binary units of a data link. A fixed header of 16 bytes, little-endian, then at most 64 KiB of payload:
 *
 *   0 kind u8 · 1 flags u8 · 2 epoch u16 · 4 stream u32 · 8 value u32 · 12 length u32
 *
 * `value` is the sequence number of a chunk, the bytes granted by a credit, the load (requests in hand) in accept, busy, end and load,
 * a nonce in ping and pong. A WebSocket message carries whole frames, as many as one turn of the event loop produced.
 * Knows bytes only; what a sequence of frames means is in link.ts.
 */
import { SkeinError } from "./errors.ts";
import { FRAME_PAYLOAD_MAX, LINK_MESSAGE_MAX } from "./limits.ts";

export const FRAME_HEADER = 16;

export const KIND = {
  hello: 1,
  open: 2,
  accept: 3,
  busy: 4,
  head: 5,
  chunk: 6,
  end: 7,
  fail: 8,
  cancel: 9,
  credit: 10,
  load: 11,
  goaway: 12,
  ping: 13,
  pong: 14,
} as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

const KIND_MAX = KIND.pong;

/** Flags of a chunk: two bits say what the payload is; MORE: the piece goes on in the next chunk; CHECKPOINT: kept for resumable streams. */
export const FLAG = {
  bytes: 0,
  text: 1,
  value: 2,
  payload: 3,
  more: 4,
  checkpoint: 8,
  /** Of open: no body follows. */
  end: 16,
} as const;

/** One decoded frame. The same object is filled again for every frame: copy what must outlive the callback. */
export interface Frame {
  kind: Kind;
  flags: number;
  epoch: number;
  stream: number;
  value: number;
  payload: Uint8Array;
}

const malformed = (what: string): SkeinError => new SkeinError("PROTOCOL", `Malformed frame: ${what}.`);

/**
 * Calls `each` for every frame of a message, in order; payloads are views into the message.
 * Throws `PROTOCOL` at the first byte that is not part of a whole, known frame; frames before it have been delivered.
 */
export function decodeFrames(message: Uint8Array, each: (frame: Frame) => void): void {
  if (message.byteLength > LINK_MESSAGE_MAX)
    throw malformed(`a message of ${message.byteLength} bytes, the limit is ${LINK_MESSAGE_MAX}`);
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const frame: Frame = { kind: KIND.ping, flags: 0, epoch: 0, stream: 0, value: 0, payload: message };
  let at = 0;
  while (at < message.byteLength) {
    if (message.byteLength - at < FRAME_HEADER) throw malformed("a header is cut short");
    const kind = message[at]!;
    if (kind === 0 || kind > KIND_MAX) throw malformed(`unknown kind ${kind}`);
    const length = view.getUint32(at + 12, true);
    if (length > FRAME_PAYLOAD_MAX) throw malformed(`a payload of ${length} bytes, the limit is ${FRAME_PAYLOAD_MAX}`);
    if (message.byteLength - at - FRAME_HEADER < length) throw malformed("a payload is cut short");
    frame.kind = kind as Kind;
    frame.flags = message[at + 1]!;
    frame.epoch = view.getUint16(at + 2, true);
    frame.stream = view.getUint32(at + 4, true);
    frame.value = view.getUint32(at + 8, true);
    at += FRAME_HEADER;
    frame.payload = message.subarray(at, at + length);
    at += length;
    each(frame);
  }
}

/**
 * Bytes free in front of every message that a batch hands over: whoever sends it may put a header of its own there (a WebSocket's has
 * at most 14), so that header and message are one buffer and one write.
 */
export const HEADROOM = 16;
/** Batches are cut from slabs of this many bytes: an ArrayBuffer for each message would keep the garbage collector busy. */
const SLAB = 64 * 1024;
const EMPTY = new Uint8Array(0);

/**
 * The frames that one turn of the event loop produces, joined into one message. `take()` hands the message over and starts a new one
 * behind it: its bytes are not used again, because a socket may still hold them.
 */
export class FrameBatch {
  #bytes: Uint8Array = EMPTY;
  #view: DataView = new DataView(EMPTY.buffer);
  /** Where the message starts in the slab, and where it ends so far. */
  #start = 0;
  #end = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  /** Appends one frame. The payload is copied. */
  add(kind: Kind, flags: number, epoch: number, stream: number, value: number, payload?: Uint8Array): void {
    const size = payload === undefined ? 0 : payload.byteLength;
    const at = this.#reserve(FRAME_HEADER + size);
    const view = this.#view;
    view.setUint16(at, kind | (flags << 8), true);
    view.setUint16(at + 2, epoch, true);
    view.setUint32(at + 4, stream, true);
    view.setUint32(at + 8, value, true);
    view.setUint32(at + 12, size, true);
    if (size > 0) this.#bytes.set(payload!, at + FRAME_HEADER);
    this.#end = at + FRAME_HEADER + size;
  }

  take(): Uint8Array {
    const message = this.#bytes.subarray(this.#start, this.#end);
    this.#start = this.#end = this.#end + HEADROOM;
    return message;
  }

  #reserve(size: number): number {
    if (this.#end + size > this.#bytes.byteLength) this.#grow(size);
    return this.#end;
  }

  /** Moves the message so far to a slab that has room for it and `size` bytes more. */
  #grow(size: number): void {
    const length = this.length;
    const grown = new Uint8Array(Math.max(SLAB, HEADROOM + (length + size) * 2));
    grown.set(this.#bytes.subarray(this.#start, this.#end), HEADROOM);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
    this.#start = HEADROOM;
    this.#end = HEADROOM + length;
  }
}
