/** Replica suffixes from a seeded generator whose state is a value (splitmix32): the same seed gives the same ids. */
import type { DeploymentId, ReplicaId } from "../protocol/ids.ts";
import { replicaId } from "../protocol/ids.ts";

const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789";
const SUFFIX_LENGTH = 8;

export const nextRandom = (seed: number): number => (seed + 0x9e3779b9) >>> 0;

function mix(seed: number): number {
  let x = seed >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

/** Eight of `[a-z0-9]`, as Ray's. */
export function suffix(seed: number): string {
  let text = "";
  for (let i = 0; i < SUFFIX_LENGTH; i += 1) text += LETTERS[mix(mix(seed) + i) % LETTERS.length];
  return text;
}

export const newReplicaId = (deployment: DeploymentId, seed: number): ReplicaId => replicaId(deployment, suffix(seed));
