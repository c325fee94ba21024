/**
 * Which replica gets the next request: least cost = (outstanding + 1) / speed, the local one when equal, then chance;
 * one that is silent only when no other has room;
 * above a size the better of two random ones ("power of two choices", Mitzenmacher 2001), which herds less and costs O(1).
 * A pure function of what is known; other policies (affinity of sessions or prefixes) narrow the candidates the way models do.
 */
import type { Peer } from "./peer.ts";

export interface PickRequest {
  /** Multiplexed model id, "" for none: replicas that were asked for it lately are preferred while one has room. */
  readonly model: string;
  /** Replicas this request has been at; taken again only when there is no other. */
  readonly tried: ReadonlySet<Peer> | null;
}

export interface PickContext {
  readonly host: string;
  readonly now: number;
  /** 0 <= x < 1. */
  random(): number;
}

/** With more replicas than this, two random ones are compared instead of all. */
export const COMPARE_ALL_MAX = 16;
const RANDOM_TRIES = 8;

export function pick(
  peers: readonly Peer[],
  capacity: number,
  request: PickRequest,
  context: PickContext,
): Peer | undefined {
  if (request.model !== "") {
    const warm = peers.filter((peer) => peer.hasModel(request.model));
    const found = cheapest(warm, capacity, request.tried, context);
    if (found !== undefined) return found;
  }
  if (peers.length > COMPARE_ALL_MAX) {
    const found = betterOfTwo(peers, capacity, request.tried, context);
    if (found !== undefined) return found;
  }
  const heard = cheapest(peers, capacity, request.tried, context);
  const fresh =
    heard ?? (peers.some((peer) => peer.quiet) ? cheapest(peers, capacity, request.tried, context, true) : undefined);
  return fresh ?? (request.tried === null ? undefined : cheapest(peers, capacity, null, context, true));
}

function betterOfTwo(
  peers: readonly Peer[],
  capacity: number,
  tried: ReadonlySet<Peer> | null,
  context: PickContext,
): Peer | undefined {
  const two: Peer[] = [];
  for (let i = 0; i < RANDOM_TRIES && two.length < 2; i++) {
    const peer = peers[Math.floor(context.random() * peers.length)]!;
    if (peer.available(capacity) && tried?.has(peer) !== true && two[0] !== peer) two.push(peer);
  }
  return cheapest(two, capacity, tried, context);
}

function cheapest(
  peers: readonly Peer[],
  capacity: number,
  tried: ReadonlySet<Peer> | null,
  context: PickContext,
  evenQuiet = false,
): Peer | undefined {
  let unknown = 0;
  for (const peer of peers) unknown = Math.max(unknown, peer.speed(context.now) ?? 0);
  // One that nobody has measured counts as fast as the fastest, so that it gets its chance.
  if (unknown === 0) unknown = 1;
  let best: Peer | undefined;
  let bestCost = Number.POSITIVE_INFINITY;
  let ties = 0;
  for (const peer of peers) {
    if (!peer.available(capacity) || (peer.quiet && !evenQuiet) || tried?.has(peer) === true) continue;
    const cost = (peer.outstanding + 1) / (peer.speed(context.now) ?? unknown);
    if (cost > bestCost) continue;
    const local = peer.host === context.host;
    const better = cost < bestCost || (local && best!.host !== context.host);
    if (!better && !local && best!.host === context.host) continue;
    ties = better ? 1 : ties + 1;
    if (better || context.random() * ties < 1) best = peer;
    bestCost = cost;
  }
  return best;
}
