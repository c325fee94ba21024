/**
 * Which replicas of a deployment link to which ingresses, where all with all would be too many links. By rendezvous hashing (Thaler and
 * Ravishankar, "Using name-based mappings to increase hit rates", 1998): every pair has a weight that follows from its two names; each
 * ingress takes the replicas of the highest weights, and each replica the ingresses. So nobody is left out, no order matters, nothing is
 * remembered, and who comes or goes moves only links of its own and one in its place. Pure.
 */
import { LINKS_EACH_MIN, LINKS_FULL_MAX } from "../protocol/limits.ts";

export interface Placed {
  readonly id: string;
  readonly host: string;
}
export interface Entrance extends Placed {
  /** The one that clients are told of: linked to every replica, or it could not use them all. */
  readonly head: boolean;
}

/** Ids of replicas by id of ingress. */
export type Subsets = ReadonlyMap<string, ReadonlySet<string>>;

/** Null: all link with all. */
export function subsets(replicas: readonly Placed[], ingresses: readonly Entrance[]): Subsets | null {
  if (replicas.length * ingresses.length <= LINKS_FULL_MAX) return null;
  const replicaHashes = replicas.map((replica) => hash(replica.id));
  const others = ingresses.filter((ingress) => !ingress.head);
  const otherHashes = others.map((ingress) => hash(ingress.id));
  const linked = new Map(
    ingresses.map(({ id, head }) => [id, new Set(head ? replicas.map((replica) => replica.id) : [])]),
  );
  const perIngress = share(ingresses.length);
  others.forEach(({ id }, i) => {
    const takes = highest(replicas, perIngress, (r) => pairWeight(otherHashes[i]!, replicaHashes[r]!));
    for (const replica of takes) linked.get(id)!.add(replica.id);
  });
  const perReplica = share(replicas.length);
  const onHost = new Map(ingresses.map((ingress) => [ingress.host, ingress.id]));
  replicas.forEach(({ id, host }, r) => {
    const takes = highest(others, perReplica, (i) => pairWeight(otherHashes[i]!, replicaHashes[r]!));
    for (const ingress of takes) linked.get(ingress.id)!.add(id);
    // The ingress on a replica's own host costs no network, and calls of that replica prefer it.
    linked.get(onHost.get(host) ?? "")?.add(id);
  });
  return linked;
}

/** Links that each of `count` may choose, so that all their choices are half of the bound at most. */
const share = (count: number): number => Math.max(LINKS_EACH_MIN, Math.floor(LINKS_FULL_MAX / 2 / count));

/** Numbers are sorted, not objects: this is done for every change of a large mesh. Weights have 32 bits, indexes fewer than 16. */
function highest<T>(items: readonly T[], count: number, weight: (index: number) => number): T[] {
  const ranked = Float64Array.from(items, (_, i) => weight(i) * 2 ** 16 + i).sort();
  return Array.from(ranked.subarray(-count), (key) => items[key % 2 ** 16]!);
}

/** FNV-1a. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** Of both names: mixed as in splitmix32, so that weights of neighbouring names have nothing in common. */
function pairWeight(ingress: number, replica: number): number {
  let x = (Math.imul(ingress, 0x9e3779b9) ^ replica) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}
