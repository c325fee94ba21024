/**
 * One seed: a mesh comes up, is asked and hurt for a while, is left alone, must come back to what is wanted, falls idle, and must still be whole.
 * Everything between two steps of the clock is settled before the next one, so that a seed is a run.
 */
import { compareVersions } from "../../protocol/ids.ts";
import { Clients, planOf, type Kind } from "./clients.ts";
import { HEAD_HOST, type CoordinatorProcess } from "./coordinator-process.ts";
import { simManifest } from "./application.ts";
import { useInstantCrypto } from "./crypto.ts";
import { Faults } from "./faults.ts";
import { Invariants } from "./invariants.ts";
import { optionsOf, type Options } from "./options.ts";
import { Scene } from "./scene.ts";
import { Worker } from "./worker-process.ts";
import { seededRandom } from "../support/random.ts";

/** To come up, and to come back after the last fault, ms. */
const CONVERGE_MS = 30_000;
/** The longest deadline, and what may follow it, ms. */
const QUIESCE_MS = 12_000;
const PROBE_MS = 8_000;

export interface Result {
  readonly seed: number;
  readonly options: Options;
  readonly trace: string;
  readonly steps: number;
  readonly virtualMs: number;
  readonly convergedMs: number | null;
  readonly requests: Readonly<Record<string, number>>;
  readonly faults: number;
  readonly violations: readonly string[];
  /** The last lines of the trace. */
  readonly lines: readonly string[];
}

export interface RunOptions {
  /** Stop at the first violation. */
  readonly first: boolean;
  readonly keptLines: number;
}

export async function runSeed(seed: number, run: RunOptions = { first: true, keptLines: 0 }): Promise<Result> {
  useInstantCrypto();
  const options = optionsOf(seed);
  const scene = new Scene(options, run.keptLines);
  const world = new World(scene, run);
  await world.live();
  return world.result();
}

class World {
  readonly #scene: Scene;
  readonly #run: RunOptions;
  readonly #faults: Faults;
  #clients!: Clients;
  #invariants!: Invariants;
  #convergedMs: number | null = null;

  constructor(scene: Scene, run: RunOptions) {
    this.#scene = scene;
    this.#run = run;
    this.#faults = new Faults(scene);
  }

  async live(): Promise<void> {
    const scene = this.#scene;
    const { hosts, workers, cpusPerWorker, slowness, faultsMs } = scene.options;
    scene.manifest = await simManifest({
      process: scene.spawn("builder", HEAD_HOST),
      ledger: scene.ledger,
      slowness: 1,
      now: () => 0,
    });
    this.#clients = new Clients(scene);
    this.#invariants = new Invariants(scene, this.#clients, this.#faults);
    for (let i = 0; i < workers; i += 1)
      scene.workers.push(
        new Worker(scene, {
          id: `worker-${i}`,
          host: `host-${i % hosts}`,
          cpus: cpusPerWorker,
          slowness: i === 1 ? slowness : 1,
        }),
      );
    await settle();
    void this.#faults.deploy();
    const came = await this.#until(CONVERGE_MS, () => this.#converged() === null);
    if (!came) return this.#notConverged("comes up");
    this.#invariants.settle();
    this.#clients.start();
    this.#faults.begin();
    await this.#until(faultsMs, () => false);
    this.#faults.stop();
    scene.trace.add("FAULTS STOP");
    const stoppedAt = scene.clock.now;
    const back = await this.#until(CONVERGE_MS, () => this.#converged() === null);
    if (!back) return this.#notConverged("comes back");
    this.#convergedMs = scene.clock.now - stoppedAt;
    this.#clients.asking = false;
    await this.#until(QUIESCE_MS, () => this.#clients.open.size === 0);
    // Half-open connections that nobody uses are noticed later.
    await this.#until(Math.max(1_500, this.#faults.disturbedAt - scene.clock.now), () => false);
    if (this.#over) return;
    this.#invariants.idle();
    await this.#probe();
  }

  result(): Result {
    const { clock, options, trace, violations } = this.#scene;
    const requests: Record<string, number> = {};
    for (const { outcome } of this.#clients.all) {
      const key = outcome === null ? "open" : outcome.how === "failed" ? String(outcome.status) : outcome.how;
      requests[key] = (requests[key] ?? 0) + 1;
    }
    return {
      seed: options.seed,
      options,
      trace: trace.hash,
      steps: trace.count,
      virtualMs: clock.now,
      convergedMs: this.#convergedMs,
      requests,
      faults: this.#faults.count,
      violations,
      lines: trace.lines,
    };
  }

  get #over(): boolean {
    return this.#run.first && this.#scene.violations.length > 0;
  }

  /** Steps until it holds, for `ms` at most; looked at often. True: it held. */
  async #until(ms: number, holds: () => boolean): Promise<boolean> {
    const { clock } = this.#scene;
    const end = clock.now + ms;
    let look = clock.now;
    while (!this.#over && clock.step(end)) {
      await settle();
      this.#invariants.check();
      if (clock.now < look) continue;
      look = clock.now + LOOK_MS;
      if (holds()) return true;
    }
    return false;
  }

  #notConverged(what: string): void {
    if (!this.#over) this.#scene.violated(`the mesh ${what} within ${CONVERGE_MS / 1000} s`, this.#converged() ?? "");
  }

  /** Null: everything is as it is wanted; else what is not. */
  #converged(): string | null {
    const scene = this.#scene;
    if (!this.#faults.deployed) return "the deploy is not durable";
    const [coordinator, second] = scene.coordinators;
    if (coordinator === undefined || second !== undefined || coordinator.superseded)
      return "there is not one coordinator";
    return this.#stateDiffers(coordinator) ?? this.#processesDiffer(coordinator) ?? this.#linksDiffer(coordinator);
  }

  #stateDiffers({ loop }: CoordinatorProcess): string | null {
    const { state } = loop;
    if (state.recovery !== null) return "the coordinator recovers";
    const away = this.#scene.workers.find(
      ({ plan }) => state.workers[plan.id]?.connected !== true || !state.workers[plan.id]!.reported,
    );
    if (away !== undefined) return `${away.plan.id} is away`;
    const { wanted } = this.#faults;
    for (const [name, count] of [
      ["Front", wanted.replicas],
      ["Back", wanted.backs],
    ] as const) {
      const story = state.deployments[`app#${name}`];
      const target = state.desired.apps["app"]?.target;
      const deployment = target?.deployments[name];
      if (story === undefined || deployment === undefined) return `${name} is not deployed`;
      if (target?.artefact !== wanted.artefact)
        return `${name} has another artefact than the last deploy that was answered`;
      if (deployment.settings.numReplicas !== count || story.target !== count)
        return `${name}'s target is ${story.target}, not ${count}`;
      if (story.status !== "HEALTHY") return `${name} is ${story.status}: ${story.message}`;
      const replicas = Object.values(state.replicas).filter((r) => r.deployment === name);
      const odd = replicas.find(
        (r) => r.phase !== "running" || r.code !== deployment.code || r.config !== deployment.config,
      );
      if (odd !== undefined) return `${odd.id} is ${odd.phase} ${odd.reason}`;
      if (replicas.length !== count) return `${name} has ${replicas.length} replicas, not ${count}`;
    }
    return null;
  }

  /** More than the books say, or less, is wrong now that all is quiet. */
  #processesDiffer({ loop }: CoordinatorProcess): string | null {
    const wanted = Object.keys(loop.state.replicas).sort().join();
    const alive = [...this.#scene.replicas]
      .map((replica) => replica.options.spec.replica)
      .sort()
      .join();
    return wanted === alive ? null : `the books have ${wanted}; alive are ${alive}`;
  }

  #linksDiffer({ loop }: CoordinatorProcess): string | null {
    const scene = this.#scene;
    if (scene.ingresses.size === 0) return "there is no ingress";
    for (const { id, mesh, serving } of scene.ingresses.values()) {
      if (!serving) return `${id} doesn't serve`;
      if (mesh.table === null || compareVersions(mesh.table.version, { term: loop.state.term, revision: 0 }) < 0)
        return `${id} has an old table`;
      for (const { id: replica } of Object.values(loop.state.replicas)) {
        const peer = [...mesh.pools].flatMap((pool) => pool.peers).find((one) => one.replica === replica);
        if (peer?.ready !== true || peer.link?.state !== "ready") return `${id} has no link to ${replica}`;
      }
    }
    return null;
  }

  /** Idle and whole: one request of each kind, through each ingress, is answered. */
  async #probe(): Promise<void> {
    const random = seededRandom(this.#scene.options.seed);
    const kinds: readonly Kind[] = ["get", "post", "keyed", "fat", "upload", "call"];
    const asked = [...this.#scene.ingresses.values()].flatMap((ingress) =>
      kinds.map((kind) => {
        const plan = {
          ...planOf(random, this.#clients.all.length),
          kind,
          delayMs: 0,
          readMs: 0,
          leavesMs: null,
          deadlineMs: 5_000,
          count: kind === "fat" || kind === "upload" ? 20 : kind === "call" ? 5 : 1,
          size: kind === "fat" ? 20_000 : 0,
        };
        return this.#clients.ask(plan, ingress);
      }),
    );
    await this.#until(PROBE_MS, () => this.#clients.open.size === 0);
    for (const { outcome, plan } of asked)
      if (outcome?.how !== "answered")
        this.#scene.violated("an idle mesh answers", `${plan.id} (${plan.kind}): ${JSON.stringify(outcome)}`);
    if (!this.#over) this.#invariants.idle();
  }
}

const LOOK_MS = 50;

/** Everything that this step has set going without waiting for time has come to rest. */
const settle = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
