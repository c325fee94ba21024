/**
 * Counter-based random numbers: a pure function of a seed and a position, so that a generation can be continued elsewhere with
 * the same draws. Knows nothing of tokens.
 */

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;
const TWO_32 = 4294967296;
const TWO_53 = 9007199254740992;

/** The high 32 bits of the product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = aLow * bHigh + (middle % 65536);
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(carry / 65536)) >>> 0;
}

export type Words4 = readonly [number, number, number, number];

/**
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC11).
 * `counter` and `key` are unsigned 32-bit words; returns four of them.
 */
export function philox4x32(counter: Words4, key: readonly [number, number]): Words4 {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const low0 = Math.imul(MULTIPLIER_0, c0) >>> 0;
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low1 = Math.imul(MULTIPLIER_1, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/**
 * A number in [0, 1) with 53 random bits for `position` of the stream `seed`. Both are non-negative safe integers; `position`
 * is the index of the token in its sequence, prompt included.
 */
export function prf(seed: number, position: number): number {
  const [a, b] = philox4x32(
    [position % TWO_32, Math.floor(position / TWO_32), 0, 0],
    [seed % TWO_32, Math.floor(seed / TWO_32)],
  );
  return ((a >>> 5) * 67108864 + (b >>> 6)) / TWO_53;
}

/** The seed of one of several answers to a prompt: the first has the seed itself, the others draw independently. */
export function choiceSeed(seed: number, choice: number): number {
  if (choice === 0) return seed;
  const [a, b] = philox4x32([choice, 0, 1, 0], [seed % TWO_32, Math.floor(seed / TWO_32)]);
  return (a >>> 11) * TWO_32 + b;
}
