/**
 * Protocol buffers' wire encoding, as far as an ONNX model needs it. Knows no message.
 * Specification: protobuf.dev/programming-guides/encoding.
 */

const VARINT = 0;
const LENGTH_DELIMITED = 2;
const FIXED_32 = 5;
const encoder = new TextEncoder();

/** One array after the other. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.byteLength;
  }
  return joined;
}

/** Base-128, low group first; negative numbers as 64-bit two's complement. */
function varint(value: number | bigint): Uint8Array {
  let rest = BigInt.asUintN(64, BigInt(value));
  const groups: number[] = [];
  while (rest > 127n) {
    groups.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  groups.push(Number(rest));
  return Uint8Array.from(groups);
}

const tag = (field: number, wireType: number): Uint8Array => varint((field << 3) | wireType);

export function bytesField(field: number, bytes: Uint8Array): Uint8Array {
  return concat([tag(field, LENGTH_DELIMITED), varint(bytes.byteLength), bytes]);
}

export function messageField(field: number, parts: readonly Uint8Array[]): Uint8Array {
  return bytesField(field, concat(parts));
}

export function stringField(field: number, text: string): Uint8Array {
  return bytesField(field, encoder.encode(text));
}

export function integerField(field: number, value: number | bigint): Uint8Array {
  return concat([tag(field, VARINT), varint(value)]);
}

export function floatField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return concat([tag(field, FIXED_32), bytes]);
}
