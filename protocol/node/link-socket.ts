/**
 * Messages of a data link on a WebSocket's own socket, in Node. The header goes into the room that a batch leaves in front of its message
 * (frame.ts), so that both are one buffer and one write; `ws` writes them one after the other. Everything else of the connection is `ws`'s.
 */
import type { Duplex } from "node:stream";
import { HEADROOM } from "../frame.ts";

/** FIN and the opcode of a binary frame (RFC 6455 5.2). */
const BINARY = 0x82;
const MASKED = 0x80;

/**
 * Writes one whole binary WebSocket frame. `message` is from a FrameBatch.
 * `masked`: from the side that dialled. The mask is zero: masks keep scripts of web pages from making bytes that a proxy takes for
 * requests of its own (RFC 6455 10.3); both ends here are ours, and a zero mask costs neither side a pass over the bytes.
 */
export function writeMessage(socket: Duplex, message: Uint8Array, masked: boolean): void {
  if (!socket.writable) return;
  const length = message.byteLength;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const header = 2 + extended + (masked ? 4 : 0);
  if (message.byteOffset < HEADROOM) throw new RangeError("A message came without room in front of it.");
  const frame = Buffer.from(message.buffer, message.byteOffset - header, header + length);
  frame[0] = BINARY;
  frame[1] = (masked ? MASKED : 0) | (extended === 0 ? length : extended === 2 ? 126 : 127);
  if (extended === 2) frame.writeUInt16BE(length, 2);
  else if (extended === 8) frame.writeBigUInt64BE(BigInt(length), 2);
  if (masked) frame.fill(0, header - 4, header);
  socket.write(frame);
}
