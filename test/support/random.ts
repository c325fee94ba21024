/** A small seeded generator (mulberry32, Tommy Ettinger): the same seed gives the same run on every machine. */
export interface Random {
  /** Uniform in [0, 1). */
  (): number;
}

export function seededRandom(seed: number): Random {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const below = (random: Random, n: number): number => Math.floor(random() * n);
export const pickOne = <T>(random: Random, items: readonly T[]): T => items[below(random, items.length)]!;
export const chance = (random: Random, p: number): boolean => random() < p;
