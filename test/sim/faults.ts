/** Faults that the options switch on, at random times until told to stop; then everything broken is mended. */
import { below, pickOne, type Random } from "../support/random.ts";
import { CoordinatorProcess } from "./coordinator-process.ts";
import { dialCoordinator } from "./dial.ts";
import type { Fault } from "./options.ts";
import type { SimProcess } from "./process.ts";
import type { Scene } from "./scene.ts";

/** What operators want of the application. */
export interface Wanted {
  artefact: string;
  replicas: number;
  backs: number;
  maxOngoing: number;
  userConfig: unknown;
}

const REPLICAS_MAX = 4;

export class Faults {
  /** Last moment at which something stood still or could not be heard, ms: what depends on being heard is judged later. */
  disturbedAt = Number.NEGATIVE_INFINITY;
  readonly wanted: Wanted;
  /** The wanted state is durable. */
  deployed = false;
  count = 0;
  readonly #scene: Scene;
  readonly #random: Random;
  readonly #frozen = new Set<SimProcess>();
  #parted = false;
  #running = true;
  #versions = 1;

  constructor(scene: Scene) {
    this.#scene = scene;
    this.#random = scene.random("faults");
    const { replicas, backs, maxOngoing } = scene.options;
    this.wanted = { artefact: artefact(1), replicas, backs, maxOngoing, userConfig: null };
    void this.startCoordinator();
  }

  /** Something stands still or is cut off now. */
  get disturbed(): boolean {
    return this.#frozen.size > 0 || this.#parted;
  }

  begin(): void {
    const { faults, faultEveryMs } = this.#scene.options;
    if (faults.length === 0) return;
    const pause = -Math.log(1 - this.#random()) * faultEveryMs;
    this.#scene.clock.after(pause, "fault", () => {
      if (!this.#running) return;
      this.begin();
      const fault = pickOne(this.#random, faults);
      this.#scene.trace.add(`FAULT ${fault}`);
      this.count += 1;
      this.#inject(fault);
    });
  }

  stop(): void {
    this.#running = false;
    for (const process of [...this.#frozen]) this.#thaw(process);
    this.#heal();
    for (const coordinator of [...this.#scene.coordinators]) if (coordinator.superseded) coordinator.process.kill();
  }

  /** Deploys what is wanted until it is durable, as an operator would. */
  async deploy(): Promise<void> {
    this.deployed = false;
    const wanted = { ...this.wanted };
    const newest = [...this.#scene.coordinators].sort((a, b) => b.term - a.term)[0];
    try {
      if (newest === undefined) throw new Error("no coordinator");
      const timeout = new Promise<never>(
        (_resolve, reject) =>
          void this.#scene.clock.after(5_000, "operator waits no more", () => reject(new Error("no answer"))),
      );
      // A coordinator that is killed never answers.
      const answer = new Promise<void>((resolve, reject) =>
        newest.process.run("deploy", () => void newest.deploy(wanted).then(resolve, reject)),
      );
      await Promise.race([answer, timeout]);
      if (newest.superseded) throw new Error("another coordinator has taken over");
      this.deployed ||= JSON.stringify(wanted) === JSON.stringify(this.wanted);
    } catch {
      this.#scene.clock.after(300, "operator tries again", () => void this.deploy());
    }
  }

  async startCoordinator(): Promise<void> {
    const { process } = await CoordinatorProcess.start(this.#scene);
    process.onEnd.push(() => {
      // Its parent starts it again, unless another is there already.
      this.#scene.clock.after(100 + this.#random() * 1_500, "coordinator again", () => {
        if (this.#scene.coordinators.size === 0) void this.startCoordinator();
      });
    });
  }

  #inject(fault: Fault): void {
    const scene = this.#scene;
    const random = this.#random;
    const replica = (): SimProcess[] => [...scene.replicas].filter((r) => r.ready && !r.stopping).map((r) => r.process);
    const agents = (): SimProcess[] => scene.workers.map((worker) => worker.process).filter((p) => p.alive);
    const ingresses = (): SimProcess[] => [...scene.ingresses.values()].map((i) => i.process);
    const coordinators = (): SimProcess[] => [...scene.coordinators].map((c) => c.process);
    switch (fault) {
      case "replicaKill":
        return this.#kill(replica());
      case "replicaFreeze":
        return this.#freeze(replica());
      case "agentKill": {
        const worker = pickOne(random, scene.workers);
        if (!worker.process.alive) return;
        const { lastJoin } = worker;
        worker.process.kill();
        if (lastJoin !== "")
          scene.clock.after(1_000 + random() * 3_000, "a late join", () => this.#joinLate(worker.plan.host, lastJoin));
        return;
      }
      case "agentFreeze":
        return this.#freeze(agents());
      case "ingressKill":
        return this.#kill(ingresses());
      case "ingressFreeze":
        return this.#freeze(ingresses());
      case "coordinatorKill":
        return this.#kill(coordinators());
      case "coordinatorFreeze":
        return this.#freeze(coordinators());
      case "cutControl":
      case "cutData":
      case "halfOpenControl":
      case "halfOpenData": {
        const open = scene.network.connections(fault.endsWith("Control") ? "control" : "data").filter((c) => c.open);
        if (open.length === 0) return;
        const connection = pickOne(random, open);
        if (fault.startsWith("cut")) connection.cut();
        else {
          connection.halfOpen();
          this.#disturbedFor(7_000);
        }
        return;
      }
      case "partition": {
        const others = Array.from({ length: scene.options.hosts - 1 }, (_, i) => `host-${i + 1}`);
        if (others.length === 0) return;
        this.#parted = true;
        scene.network.part("host-0", pickOne(random, others));
        scene.clock.after(500 + random() * 9_000, "partition heals", () => this.#heal());
        return;
      }
      case "twoCoordinators": {
        if (scene.coordinators.size !== 1) return;
        const [old] = scene.coordinators;
        void this.startCoordinator();
        // Peers dial anew, now the one, now the other.
        for (const ms of [0, 1_500, 3_000, 4_500])
          scene.clock.after(ms, "peers dial anew", () => {
            if (scene.coordinators.size > 1)
              for (const connection of scene.network.connections("control")) connection.cut();
          });
        scene.clock.after(1_000 + random() * 8_000, "old coordinator ends", () => old!.process.kill());
        return;
      }
      case "operator":
        return this.#operate();
    }
  }

  /** What a process had sent before it ended reaches the coordinator when the next one has long joined. */
  #joinLate(host: string, join: string): void {
    const process = this.#scene.spawn("held up in the network", host);
    const connection = dialCoordinator(this.#scene, process, {
      onOpen: () => connection.send(join),
      onMessage: () => {},
      onClose: () => process.kill(),
    });
    process.after(1_000, "ends", () => process.kill());
  }

  #operate(): void {
    const random = this.#random;
    switch (below(random, 3)) {
      case 0:
        this.wanted.replicas = 1 + below(random, REPLICAS_MAX);
        break;
      case 1:
        this.wanted.artefact = artefact((this.#versions += 1));
        break;
      default:
        this.wanted.userConfig = { version: (this.#versions += 1) };
    }
    void this.deploy();
  }

  #kill(processes: readonly SimProcess[]): void {
    if (processes.length > 0) pickOne(this.#random, processes).kill();
  }

  #freeze(processes: readonly SimProcess[]): void {
    const awake = processes.filter((process) => !process.frozen);
    if (awake.length === 0) return;
    const process = pickOne(this.#random, awake);
    process.freeze();
    this.#frozen.add(process);
    this.#scene.clock.after(300 + this.#random() * 9_000, `${process.name} thaws`, () => this.#thaw(process));
  }

  #thaw(process: SimProcess): void {
    if (!this.#frozen.delete(process)) return;
    this.#disturbedFor(0);
    process.thaw();
  }

  #heal(): void {
    if (!this.#parted) return;
    this.#parted = false;
    this.#disturbedFor(0);
    this.#scene.network.heal();
  }

  #disturbedFor(ms: number): void {
    this.disturbedAt = Math.max(this.disturbedAt, this.#scene.clock.now + ms);
  }
}

const artefact = (version: number): string => version.toString(16).padStart(64, "0");
