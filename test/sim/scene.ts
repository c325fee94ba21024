/** What the virtual processes share: time, network, chance, disks, and the lists of who is there. Knows no policy. */
import type { Manifest } from "../../protocol/artefact.ts";
import { MemoryStore } from "../../coordinator/store/memory.ts";
import type { RoutingTable } from "../../protocol/routes.ts";
import { seededRandom, type Random } from "../support/random.ts";
import { Ledger } from "./application.ts";
import { VirtualClock, Trace } from "./clock.ts";
import type { CoordinatorProcess } from "./coordinator-process.ts";
import type { IngressProcess } from "./ingress-process.ts";
import { Network } from "./network.ts";
import type { Options } from "./options.ts";
import { SimProcess } from "./process.ts";
import type { ReplicaProcess } from "./replica-process.ts";
import type { Worker } from "./worker-process.ts";

/** The mesh's clock starts here, ms since 1970, so that nothing takes 0 for "never". */
export const EPOCH_MS = 1_700_000_000_000;

export class Scene {
  readonly options: Options;
  readonly trace: Trace;
  readonly clock: VirtualClock;
  readonly network: Network;
  readonly ledger = new Ledger();
  readonly store = new MemoryStore();
  /** Routing tables on the hosts' disks, by ingress. */
  readonly disk = new Map<string, RoutingTable>();
  readonly coordinators = new Set<CoordinatorProcess>();
  readonly ingresses = new Map<string, IngressProcess>();
  readonly workers: Worker[] = [];
  readonly replicas = new Set<ReplicaProcess>();
  manifest!: Manifest;
  newestTerm = 0;
  /** Everything has come up once. */
  settled = false;
  /** First violations of invariants, bounded. */
  readonly violations: string[] = [];
  #pids = 0;

  constructor(options: Options, keptLines: number) {
    this.options = options;
    this.trace = new Trace(keptLines);
    this.clock = new VirtualClock(this.trace);
    this.network = new Network(this.clock, this.random("network"), options);
  }

  /** A stream of chance of its own for each user, so that one more draw here changes nothing there. */
  random(name: string): Random {
    let seed = this.options.seed;
    for (const c of name) seed = Math.imul(seed ^ c.charCodeAt(0), 0x9e3779b1) >>> 0;
    return seededRandom(seed);
  }

  get now(): number {
    return EPOCH_MS + this.clock.now;
  }

  spawn(name: string, host: string): SimProcess {
    this.#pids += 1;
    return new SimProcess(this.clock, name, host, this.#pids);
  }

  violated(invariant: string, detail: string): void {
    if (this.violations.length < 20) this.violations.push(`${invariant} at ${this.clock.now.toFixed(0)} ms: ${detail}`);
    this.trace.add(`VIOLATED ${invariant}: ${detail}`);
  }
}
