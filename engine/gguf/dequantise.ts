/**
 * Tensor bytes to f32. Layouts as in ggml's `ggml-common.h`; arithmetic as in `gguf-py/gguf/quants.py`, rounded to f32.
 */
import { BLOCK_LAYOUTS, type TensorFormat } from "./format.ts";

type Decoder = (view: DataView, at: number, out: Float32Array, to: number) => void;

/** Decodes one block at byte `at` into `out` from index `to`. */
const DECODERS: Readonly<Record<TensorFormat, Decoder>> = {
  F32: (view, at, out, to) => {
    out[to] = view.getFloat32(at, true);
  },
  F16: (view, at, out, to) => {
    out[to] = view.getFloat16(at, true);
  },
  BF16: (view, at, out, to) => {
    out[to] = bfloat16(view.getUint16(at, true));
  },
  Q4_0: (view, at, out, to) => {
    const scale = view.getFloat16(at, true);
    for (let i = 0; i < 16; i++) {
      const pair = view.getUint8(at + 2 + i);
      out[to + i] = scale * ((pair & 15) - 8);
      out[to + i + 16] = scale * ((pair >> 4) - 8);
    }
  },
  Q4_1: (view, at, out, to) => {
    const scale = view.getFloat16(at, true);
    const minimum = view.getFloat16(at + 2, true);
    for (let i = 0; i < 16; i++) {
      const pair = view.getUint8(at + 4 + i);
      out[to + i] = scale * (pair & 15) + minimum;
      out[to + i + 16] = scale * (pair >> 4) + minimum;
    }
  },
  Q5_0: (view, at, out, to) => {
    const scale = view.getFloat16(at, true);
    const fifth = view.getUint32(at + 2, true);
    for (let i = 0; i < 16; i++) {
      const pair = view.getUint8(at + 6 + i);
      out[to + i] = scale * (((pair & 15) | (((fifth >>> i) & 1) << 4)) - 16);
      out[to + i + 16] = scale * (((pair >> 4) | (((fifth >>> (i + 16)) & 1) << 4)) - 16);
    }
  },
  Q5_1: (view, at, out, to) => {
    const scale = view.getFloat16(at, true);
    const minimum = view.getFloat16(at + 2, true);
    const fifth = view.getUint32(at + 4, true);
    for (let i = 0; i < 16; i++) {
      const pair = view.getUint8(at + 8 + i);
      out[to + i] = scale * ((pair & 15) | (((fifth >>> i) & 1) << 4)) + minimum;
      out[to + i + 16] = scale * ((pair >> 4) | (((fifth >>> (i + 16)) & 1) << 4)) + minimum;
    }
  },
  Q8_0: (view, at, out, to) => {
    const scale = view.getFloat16(at, true);
    for (let i = 0; i < 32; i++) out[to + i] = scale * view.getInt8(at + 2 + i);
  },
  Q4_K: (view, at, out, to) => {
    for (let part = 0; part < 8; part++) {
      const scale = kScale(view, at, part);
      const minimum = kMinimum(view, at, part);
      const low = at + 16 + (part >> 1) * 32;
      for (let i = 0; i < 32; i++)
        out[to + part * 32 + i] = scale * ((view.getUint8(low + i) >> (4 * (part & 1))) & 15) - minimum;
    }
  },
  Q5_K: (view, at, out, to) => {
    for (let part = 0; part < 8; part++) {
      const scale = kScale(view, at, part);
      const minimum = kMinimum(view, at, part);
      const low = at + 48 + (part >> 1) * 32;
      for (let i = 0; i < 32; i++) {
        const nibble = (view.getUint8(low + i) >> (4 * (part & 1))) & 15;
        const fifth = (view.getUint8(at + 16 + i) >> part) & 1;
        out[to + part * 32 + i] = scale * (nibble | (fifth << 4)) - minimum;
      }
    }
  },
  Q6_K: decodeQ6K,
  I8_0: (view, at, out, to) => {
    const scale = view.getFloat32(at, true);
    for (let i = 0; i < 32; i++) out[to + i] = scale * view.getInt8(at + 4 + i);
  },
  I8_1: (view, at, out, to) => {
    const scale = view.getFloat32(at, true);
    const zero = view.getFloat32(at + 4, true);
    for (let i = 0; i < 32; i++) out[to + i] = scale * (view.getInt8(at + 8 + i) - zero);
  },
};

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** A bfloat16 is the upper half of a float32. */
function bfloat16(bits: number): number {
  word[0] = bits << 16;
  return float[0]!;
}

/**
 * The scale of 32 values of a Q4_K or Q5_K block at byte `at`: a f16 for the block times one of eight 6-bit numbers. Those are packed with
 * eight for the minima into the 12 bytes behind the two f16: the first four lie in the low six bits, the last four in what they leave.
 */
export function kScale(view: DataView, at: number, part: number): number {
  const byte = (i: number): number => view.getUint8(at + 4 + i);
  const six = part < 4 ? byte(part) & 63 : (byte(part + 4) & 15) | ((byte(part - 4) >> 6) << 4);
  return view.getFloat16(at, true) * six;
}

/** What is subtracted from those 32 values. */
export function kMinimum(view: DataView, at: number, part: number): number {
  const byte = (i: number): number => view.getUint8(at + 4 + i);
  const six = part < 4 ? byte(part + 4) & 63 : (byte(part + 4) >> 4) | ((byte(part) >> 6) << 4);
  return view.getFloat16(at + 2, true) * six;
}

/** 256 values: low nibbles, two high bits each, sixteen int8 scales of 16 values, and one f16 scale. */
function decodeQ6K(view: DataView, at: number, out: Float32Array, to: number): void {
  const scale = view.getFloat16(at + 208, true);
  for (let half = 0; half < 2; half++) {
    const low = at + half * 64;
    const high = at + 128 + half * 32;
    const scales = at + 192 + half * 8;
    for (let i = 0; i < 32; i++) {
      const highBits = view.getUint8(high + i);
      for (let quarter = 0; quarter < 4; quarter++) {
        const nibbles = view.getUint8(low + i + (quarter % 2) * 32);
        const nibble = quarter < 2 ? nibbles & 15 : nibbles >> 4;
        const value = (nibble | (((highBits >> (2 * quarter)) & 3) << 4)) - 32;
        out[to + half * 128 + quarter * 32 + i] = scale * view.getInt8(scales + 2 * quarter + (i >> 4)) * value;
      }
    }
  }
}

/** All values of a tensor's (or some whole rows') bytes, in order. */
export function dequantise(format: TensorFormat, bytes: Uint8Array): Float32Array {
  const { elements, bytes: blockBytes } = BLOCK_LAYOUTS[format];
  const blocks = bytes.byteLength / blockBytes;
  const out = new Float32Array(blocks * elements);
  if (format === "F32") {
    new Uint8Array(out.buffer).set(bytes);
    return out;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decode = DECODERS[format];
  for (let block = 0; block < blocks; block++) decode(view, block * blockBytes, out, block * elements);
  return out;
}

/** Values decoded at a time: 4 MiB of them stay in the cache and out of the way. */
const STRETCH_ELEMENTS = 1_048_576;

/** Visits all values of a matrix's bytes in stretches of whole rows, so that no f32 copy of a large matrix need exist. */
export function forEachStretch(
  format: TensorFormat,
  bytes: Uint8Array,
  columns: number,
  visit: (values: Float32Array, firstRow: number) => void,
): void {
  const { elements, bytes: blockBytes } = BLOCK_LAYOUTS[format];
  const rowBytes = (columns / elements) * blockBytes;
  const rows = bytes.byteLength / rowBytes;
  const stretch = Math.max(1, Math.floor(STRETCH_ELEMENTS / columns));
  for (let row = 0; row < rows; row += stretch) {
    visit(dequantise(format, bytes.subarray(row * rowBytes, Math.min(rows, row + stretch) * rowBytes)), row);
  }
}
