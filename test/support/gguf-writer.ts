/**
 * Writes GGUF version 3 for tests: metadata and tensors to bytes. Independent of the engine's reader on purpose.
 */
const MAGIC = 0x46554747;
const VERSION = 3;
const ALIGNMENT = 32;
const BLOCK = 32;
const KIND = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 } as const;

export type GgufValue =
  | { readonly kind: "uint32" | "float32"; readonly value: number }
  | { readonly kind: "bool"; readonly value: boolean }
  | { readonly kind: "string"; readonly value: string }
  | { readonly kind: "strings"; readonly value: readonly string[] }
  | { readonly kind: "int32s"; readonly value: readonly number[] };

export type GgufFormat = "F32" | "Q4_0" | "Q4_1" | "Q8_0";
const FORMAT_ID: Record<GgufFormat, number> = { F32: 0, Q4_0: 2, Q4_1: 3, Q8_0: 8 };

export interface GgufTensor {
  readonly name: string;
  /** Row-major `[rows, columns]`, or `[columns]` for a vector. */
  readonly shape: readonly number[];
  readonly format: GgufFormat;
  readonly bytes: Uint8Array;
}

class ByteSink {
  #bytes = new Uint8Array(1 << 16);
  #view = new DataView(this.#bytes.buffer);
  length = 0;

  /** Call it before touching `#bytes` or `#view`: it may replace both. */
  #reserve(count: number): number {
    const at = this.length;
    this.length += count;
    if (this.length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
  uint32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, true);
  }
  float32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setFloat32(at, value, true);
  }
  uint64(value: number): void {
    const at = this.#reserve(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }
  raw(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length);
    this.#bytes.set(bytes, at);
  }
  string(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.uint64(bytes.length);
    this.raw(bytes);
  }
  align(): void {
    this.#reserve((ALIGNMENT - (this.length % ALIGNMENT)) % ALIGNMENT);
  }
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.length);
  }
}

function writeValue(sink: ByteSink, entry: GgufValue): void {
  switch (entry.kind) {
    case "uint32":
      sink.uint32(KIND.uint32);
      return sink.uint32(entry.value);
    case "float32":
      sink.uint32(KIND.float32);
      return sink.float32(entry.value);
    case "bool":
      sink.uint32(KIND.bool);
      return sink.raw(Uint8Array.of(entry.value ? 1 : 0));
    case "string":
      sink.uint32(KIND.string);
      return sink.string(entry.value);
    case "strings":
      sink.uint32(KIND.array);
      sink.uint32(KIND.string);
      sink.uint64(entry.value.length);
      return entry.value.forEach((text) => sink.string(text));
    case "int32s":
      sink.uint32(KIND.array);
      sink.uint32(KIND.int32);
      sink.uint64(entry.value.length);
      return entry.value.forEach((value) => sink.uint32(value >>> 0));
  }
}

/** The bytes of a GGUF file. */
export function writeGguf(
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Uint8Array<ArrayBuffer> {
  const sink = new ByteSink();
  sink.uint32(MAGIC);
  sink.uint32(VERSION);
  sink.uint64(tensors.length);
  sink.uint64(Object.keys(metadata).length);
  for (const [key, entry] of Object.entries(metadata)) {
    sink.string(key);
    writeValue(sink, entry);
  }
  let offset = 0;
  for (const tensor of tensors) {
    sink.string(tensor.name);
    sink.uint32(tensor.shape.length);
    for (const size of [...tensor.shape].reverse()) sink.uint64(size);
    sink.uint32(FORMAT_ID[tensor.format]);
    sink.uint64(offset);
    offset += Math.ceil(tensor.bytes.length / ALIGNMENT) * ALIGNMENT;
  }
  for (const tensor of tensors) {
    sink.align();
    sink.raw(tensor.bytes);
  }
  sink.align();
  return sink.finish();
}

/** Stores `values` in `format`; returns the bytes and what they mean once read back, which is what an oracle must use. */
export function quantise(values: Float32Array, format: GgufFormat): { bytes: Uint8Array; values: Float32Array } {
  if (format === "F32") {
    return { bytes: new Uint8Array(values.buffer, values.byteOffset, values.byteLength), values };
  }
  if (values.length % BLOCK !== 0)
    throw new Error(`${format} needs a multiple of ${BLOCK} elements, not ${values.length}`);
  const blocks = values.length / BLOCK;
  const blockBytes = { Q8_0: 2 + BLOCK, Q4_0: 2 + BLOCK / 2, Q4_1: 4 + BLOCK / 2 }[format];
  const bytes = new Uint8Array(blocks * blockBytes);
  const view = new DataView(bytes.buffer);
  const stored = new Float32Array(values.length);
  for (let block = 0; block < blocks; block++) {
    const at = block * blockBytes;
    const source = values.subarray(block * BLOCK, (block + 1) * BLOCK);
    const target = stored.subarray(block * BLOCK, (block + 1) * BLOCK);
    if (format === "Q8_0") {
      view.setFloat16(at, source.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127, true);
      const scale = view.getFloat16(at, true);
      source.forEach((value, i) => {
        const q = scale === 0 ? 0 : Math.max(-127, Math.min(127, Math.round(value / scale)));
        view.setInt8(at + 2 + i, q);
        target[i] = scale * q;
      });
    } else if (format === "Q4_0") {
      // The value that is furthest from zero is exactly -8 scales.
      const furthest = source.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
      view.setFloat16(at, furthest / -8, true);
      const scale = view.getFloat16(at, true);
      source.forEach((value, i) => {
        const q = scale === 0 ? 8 : Math.max(0, Math.min(15, Math.round(value / scale) + 8));
        const byte = at + 2 + (i % 16);
        bytes[byte] = bytes[byte]! | (i < 16 ? q : q << 4);
        target[i] = scale * (q - 8);
      });
    } else {
      const lowest = source.reduce((least, value) => Math.min(least, value), Infinity);
      const highest = source.reduce((most, value) => Math.max(most, value), -Infinity);
      view.setFloat16(at, (highest - lowest) / 15, true);
      view.setFloat16(at + 2, lowest, true);
      const scale = view.getFloat16(at, true);
      const minimum = view.getFloat16(at + 2, true);
      source.forEach((value, i) => {
        const q = scale === 0 ? 0 : Math.max(0, Math.min(15, Math.round((value - minimum) / scale)));
        const byte = at + 4 + (i % 16);
        bytes[byte] = bytes[byte]! | (i < 16 ? q : q << 4);
        target[i] = scale * q + minimum;
      });
    }
  }
  return { bytes, values: stored };
}
