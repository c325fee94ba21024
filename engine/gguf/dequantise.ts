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
  Q8_0: (view, at, out, to) => {
    const scale = view.getFloat16(at, true);
    for (let i = 0; i < 32; i++) out[to + i] = scale * view.getInt8(at + 2 + i);
  },
  Q6_K: decodeQ6K,
};

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** A bfloat16 is the upper half of a float32. */
function bfloat16(bits: number): number {
  word[0] = bits << 16;
  return float[0]!;
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
