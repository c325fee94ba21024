/**
 * A seed becomes a printed set of options ("swarm testing", Groce et al. 2012: each seed switches on a random subset of the faults,
 * so that one kind can't hide what another would show).
 */
import { below, chance, pickOne, seededRandom } from "../support/random.ts";

export const FAULTS = [
  "replicaKill",
  "replicaFreeze",
  "agentKill",
  "agentFreeze",
  "ingressKill",
  "ingressFreeze",
  "coordinatorKill",
  "coordinatorFreeze",
  "cutControl",
  "cutData",
  "halfOpenControl",
  "halfOpenData",
  "partition",
  "twoCoordinators",
  "operator",
] as const;
export type Fault = (typeof FAULTS)[number];

export interface Options {
  readonly seed: number;
  readonly hosts: number;
  readonly workers: number;
  readonly cpusPerWorker: number;
  readonly replicas: number;
  readonly backs: number;
  readonly maxOngoing: number;
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  readonly loss: number;
  /** Mean time between requests and between faults, ms. */
  readonly requestEveryMs: number;
  readonly faultEveryMs: number;
  /** How long faults go on, ms. */
  readonly faultsMs: number;
  readonly faults: readonly Fault[];
  /** One worker that works this many times slower. */
  readonly slowness: number;
}

/** A third of all seeds have one kind of fault only and no lost messages: there, the strictest invariants apply. */
export function optionsOf(seed: number): Options {
  const random = seededRandom(Math.imul(seed, 0x85ebca6b) ^ 0x51ed270b);
  const hosts = 1 + below(random, 3);
  const workers = Math.max(hosts, 2 + below(random, 3));
  const replicas = 1 + below(random, 3);
  const backs = 1 + below(random, 2);
  const single = chance(random, 0.35);
  const faults = single ? [pickOne(random, FAULTS)] : FAULTS.filter(() => chance(random, 0.35));
  return {
    seed,
    hosts,
    workers,
    replicas,
    backs,
    // Room for one more than is wanted even when the largest scale is asked for and one worker is away.
    cpusPerWorker: Math.ceil((4 + backs + 2) / Math.max(workers - 1, 1)),
    maxOngoing: 1 + below(random, 5),
    delayMinMs: pickOne(random, [0, 0.2, 1]),
    delayMaxMs: pickOne(random, [1, 5, 40]),
    loss: single || chance(random, 0.5) ? 0 : random() * 0.1,
    requestEveryMs: pickOne(random, [40, 100, 250]),
    faultEveryMs: pickOne(random, [500, 1_500, 4_000]),
    faultsMs: 10_000,
    faults,
    slowness: pickOne(random, [1, 1, 5]),
  };
}
