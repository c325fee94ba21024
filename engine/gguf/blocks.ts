/**
 * Quantised blocks as the integers they are: `value = scale * quant + offset`, exactly, where quants are signed and centred, so that
 * formats with a minimum and formats without differ in the offset alone. What n-bit multiplications and gathers are made from.
 */
import { kMinimum, kScale } from "./dequantise.ts";
import { BLOCK_LAYOUTS, type TensorFormat } from "./format.ts";

export type BlockFormat = Exclude<TensorFormat, "F32" | "F16" | "BF16">;

interface BlockReading {
  /** Elements that share a scale and an offset. */
  readonly shared: number;
  /** The quants of the block at byte `at`, into `out` from index `to`. */
  readonly quants: (bytes: Uint8Array, at: number, out: Int8Array, to: number) => void;
  /** Scale of the `part`-th share of the block at byte `at`. */
  readonly scale: (view: DataView, at: number, part: number) => number;
  /** Absent where it is always zero. */
  readonly offset?: (view: DataView, at: number, part: number) => number;
}

const CENTRE_4 = 8;
const CENTRE_5 = 16;
const CENTRE_6 = 32;

const f16 = (view: DataView, at: number): number => view.getFloat16(at, true);
const f32 = (view: DataView, at: number): number => view.getFloat32(at, true);

/** Nibbles from byte `nibbles` on: element i with i + 16 in one byte. */
function nibblePairs(bytes: Uint8Array, nibbles: number, out: Int8Array, to: number): void {
  for (let i = 0; i < 16; i++) {
    const pair = bytes[nibbles + i]!;
    out[to + i] = (pair & 15) - CENTRE_4;
    out[to + i + 16] = (pair >> 4) - CENTRE_4;
  }
}

/** The same with a fifth bit each in the four bytes before. */
function fiveBits(bytes: Uint8Array, nibbles: number, out: Int8Array, to: number): void {
  for (let i = 0; i < 16; i++) {
    const pair = bytes[nibbles + i]!;
    const fifth = (j: number): number => ((bytes[nibbles - 4 + (j >> 3)]! >> (j & 7)) & 1) << 4;
    out[to + i] = ((pair & 15) | fifth(i)) - CENTRE_5;
    out[to + i + 16] = ((pair >> 4) | fifth(i + 16)) - CENTRE_5;
  }
}

const READINGS: Readonly<Record<BlockFormat, BlockReading>> = {
  Q4_0: { shared: 32, quants: (bytes, at, out, to) => nibblePairs(bytes, at + 2, out, to), scale: f16 },
  Q4_1: {
    shared: 32,
    quants: (bytes, at, out, to) => nibblePairs(bytes, at + 4, out, to),
    scale: f16,
    offset: (view, at) => CENTRE_4 * f16(view, at) + f16(view, at + 2),
  },
  Q5_0: { shared: 32, quants: (bytes, at, out, to) => fiveBits(bytes, at + 6, out, to), scale: f16 },
  Q5_1: {
    shared: 32,
    quants: (bytes, at, out, to) => fiveBits(bytes, at + 8, out, to),
    scale: f16,
    offset: (view, at) => CENTRE_5 * f16(view, at) + f16(view, at + 2),
  },
  Q8_0: { shared: 32, quants: (bytes, at, out, to) => out.set(bytes.subarray(at + 2, at + 34), to), scale: f16 },
  Q4_K: {
    shared: 32,
    quants(bytes, at, out, to) {
      for (let i = 0; i < 128; i++) {
        const pair = bytes[at + 16 + i]!;
        const even = to + (i >> 5) * 64 + (i & 31);
        out[even] = (pair & 15) - CENTRE_4;
        out[even + 32] = (pair >> 4) - CENTRE_4;
      }
    },
    scale: kScale,
    offset: (view, at, part) => CENTRE_4 * kScale(view, at, part) - kMinimum(view, at, part),
  },
  Q5_K: {
    shared: 32,
    quants(bytes, at, out, to) {
      for (let i = 0; i < 128; i++) {
        const pair = bytes[at + 48 + i]!;
        const fifths = bytes[at + 16 + (i & 31)]! >> (2 * (i >> 5));
        const even = to + (i >> 5) * 64 + (i & 31);
        out[even] = ((pair & 15) | ((fifths & 1) << 4)) - CENTRE_5;
        out[even + 32] = ((pair >> 4) | ((fifths & 2) << 3)) - CENTRE_5;
      }
    },
    scale: kScale,
    offset: (view, at, part) => CENTRE_5 * kScale(view, at, part) - kMinimum(view, at, part),
  },
  Q6_K: {
    shared: 16,
    quants(bytes, at, out, to) {
      for (let i = 0; i < 128; i++) {
        const pair = bytes[at + i]!;
        const lane = i & 31;
        const half = i >> 6;
        const odd = (i >> 5) & 1;
        const highs = bytes[at + 128 + half * 32 + lane]! >> (2 * odd);
        const low = to + half * 128 + odd * 32 + lane;
        out[low] = ((pair & 15) | ((highs & 3) << 4)) - CENTRE_6;
        out[low + 64] = ((pair >> 4) | (highs & 48)) - CENTRE_6;
      }
    },
    scale: (view, at, part) => f16(view, at + 208) * view.getInt8(at + 192 + part),
  },
  I8_0: { shared: 32, quants: (bytes, at, out, to) => out.set(bytes.subarray(at + 4, at + 36), to), scale: f32 },
  I8_1: {
    shared: 32,
    quants: (bytes, at, out, to) => out.set(bytes.subarray(at + 8, at + 40), to),
    scale: f32,
    offset: (view, at) => -f32(view, at) * f32(view, at + 4),
  },
};

export function isBlockFormat(format: TensorFormat): format is BlockFormat {
  return format in READINGS;
}

/** Elements along a row that share a scale, and whether there are offsets. */
export function blockShape(format: BlockFormat): { readonly shared: number; readonly hasOffsets: boolean } {
  const { shared, offset } = READINGS[format];
  return { shared, hasOffsets: offset !== undefined };
}

/** The quants of whole rows, in order. */
export function blockQuants(format: BlockFormat, rows: Uint8Array): Int8Array {
  const { elements, bytes } = BLOCK_LAYOUTS[format];
  const { quants } = READINGS[format];
  const blocks = rows.byteLength / bytes;
  const out = new Int8Array(blocks * elements);
  for (let block = 0; block < blocks; block++) quants(rows, block * bytes, out, block * elements);
  return out;
}

/** The scales of whole rows, in order. */
export function blockScales(format: BlockFormat, rows: Uint8Array): Float32Array {
  return perShare(format, rows, READINGS[format].scale);
}

/** The offsets of whole rows, in order: zeros where the format has none. */
export function blockOffsets(format: BlockFormat, rows: Uint8Array): Float32Array {
  return perShare(format, rows, READINGS[format].offset ?? (() => 0));
}

function perShare(format: BlockFormat, rows: Uint8Array, read: BlockReading["scale"]): Float32Array {
  const { elements, bytes } = BLOCK_LAYOUTS[format];
  const shares = elements / READINGS[format].shared;
  const view = new DataView(rows.buffer, rows.byteOffset, rows.byteLength);
  const out = new Float32Array((rows.byteLength / bytes) * shares);
  for (let i = 0; i < out.length; i++) out[i] = read(view, Math.floor(i / shares) * bytes, i % shares);
  return out;
}
