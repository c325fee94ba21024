/**
 * The scores of one row: a copy of its logits in WebAssembly's memory, and what is done to all of them at once (`kernels/vocabulary.wat`),
 * ten times faster than by JavaScript. The same on every host, to the last bit.
 */
import { VOCABULARY_KERNELS } from "./kernels/vocabulary.ts";

/** Buckets for each nat below the best: the finer, the fewer tokens are sorted. */
const PER_NAT = 32;
/** Deeper than this a weight is less than the rounding of the sum that it would be added to. */
const DEPTH_NATS = 40;
export const BUCKETS = PER_NAT * DEPTH_NATS;

const PAGE = 65_536;
/** Values that the kernels take together. */
const GROUP = 32;

interface Kernels {
  range(at: number, end: number): [lowest: number, highest: number];
  highest(at: number, end: number): number;
  find(at: number, end: number, value: number): number;
  mask(at: number, end: number, bits: number): void;
  rank(
    at: number,
    end: number,
    highest: number,
    scale: number,
    buckets: number,
    nats: number,
    counts: number,
    masses: number,
  ): void;
  collect(
    at: number,
    end: number,
    highest: number,
    scale: number,
    buckets: number,
    bucket: number,
    out: number,
  ): number;
}

let compiled: WebAssembly.Module | undefined;

export class Scores {
  /** `[vocabulary]`: to be read and changed. */
  readonly values: Float32Array;
  /** Tokens in each bucket, and their weights together, since the last `rank`; in one more the number of those that weigh nothing. */
  readonly counts: Int32Array;
  readonly masses: Float64Array;
  readonly #padded: Float32Array;
  readonly #bits: Int32Array;
  readonly #tokens: Int32Array;
  readonly #kernels: Kernels;
  readonly #end: number;

  constructor(vocabulary: number) {
    const padded = Math.ceil(vocabulary / GROUP) * GROUP;
    // f64 first: each part begins at a multiple of its size.
    let size = 0;
    const part = (bytes: number): number => {
      const at = size;
      size += Math.ceil(bytes / 16) * 16;
      return at;
    };
    const [values, masses, counts] = [part(4 * padded), part(8 * (BUCKETS + 1)), part(4 * (BUCKETS + 1))];
    const [bits, tokens] = [part(padded / 8), part(4 * padded)];
    const memory = new WebAssembly.Memory({ initial: Math.ceil(size / PAGE) });
    const { buffer } = memory;
    this.#padded = new Float32Array(buffer, values, padded);
    this.values = this.#padded.subarray(0, vocabulary);
    this.masses = new Float64Array(buffer, masses, BUCKETS + 1);
    this.counts = new Int32Array(buffer, counts, BUCKETS + 1);
    this.#bits = new Int32Array(buffer, bits, padded / GROUP);
    this.#tokens = new Int32Array(buffer, tokens, padded);
    this.#end = 4 * padded;
    compiled ??= new WebAssembly.Module(Uint8Array.from(atob(VOCABULARY_KERNELS), (char) => char.charCodeAt(0)));
    this.#kernels = new WebAssembly.Instance(compiled, { host: { memory } }).exports as unknown as Kernels;
  }

  /** Takes `[vocabulary]` logits. Throws where they can't be a model's: not finite, or all the same, as of broken kernels and lost devices. */
  load(logits: Float32Array): void {
    this.values.set(logits);
    this.#pad(logits[0]!);
    const [lowest, highest] = this.#kernels.range(0, this.#end);
    if (!(lowest < highest)) throw new Error("the model gave no usable logits (NaN, infinite or all the same)");
    this.#pad(-Infinity);
  }

  #pad(value: number): void {
    this.#padded.fill(value, this.values.length);
  }

  /** Only tokens with a bit may come: the others' scores become -Infinity. */
  mask(bits: Int32Array): void {
    this.#bits.fill(0);
    this.#bits.set(bits.subarray(0, this.#bits.length));
    this.#kernels.mask(0, this.#end, this.#bits.byteOffset);
  }

  get highest(): number {
    return this.#kernels.highest(0, this.#end);
  }

  /** The first token with this score, which one has. */
  first(score: number): number {
    return this.#kernels.find(0, this.#end, score) / 4;
  }

  /**
   * Sorts the tokens into buckets by `exp((score - highest) / temperature)`, a 32nd of a nat each.
   * @param scale of `scaleOf(temperature)`
   */
  rank(highest: number, scale: number): void {
    this.counts.fill(0);
    this.masses.fill(0);
    const { counts, masses } = this;
    this.#kernels.rank(0, this.#end, highest, scale, BUCKETS, 1 / PER_NAT, counts.byteOffset, masses.byteOffset);
  }

  /** The tokens of a bucket, by id. Valid until the next call. */
  tokensOf(bucket: number, highest: number, scale: number): Int32Array {
    const out = this.#tokens.byteOffset;
    const end = this.#kernels.collect(0, this.#end, highest, scale, BUCKETS, bucket, out);
    return this.#tokens.subarray(0, (end - out) / 4);
  }
}

/** Temperatures below this make no difference to f32 scores, but their inverse must be finite. */
const TEMPERATURE_MIN = 1e-30;

/** Buckets for each unit of a score. */
export function scaleOf(temperature: number): number {
  return Math.fround(PER_NAT / Math.max(temperature, TEMPERATURE_MIN));
}

/** The weight of what is `buckets` below the best, which weighs 1. */
export function weightAt(buckets: number): number {
  return Math.exp(-buckets / PER_NAT);
}
