/**
 * A mesh of this machine's own: the coordinator and one worker, started, kept running and stopped in order by this process.
 * Order of stopping: worker (its ingress stops accepting and drains, then its replicas), then coordinator. A second wish kills by process id.
 */
import { mkdir } from "node:fs/promises";
import type { AgentOptions, AgentReady, CoordinatorOptions, CoordinatorReady } from "../../protocol/local.ts";
import { CommandFailed, Interrupted } from "../failure.ts";
import { EXIT } from "../../protocol/errors.ts";
import type { Shell } from "../shell.ts";
import { launchAgent, launchCoordinator } from "./programs.ts";
import { removeMeshRecord, writeMeshRecord } from "./record.ts";
import { Supervisor, supervisorIo, type Life, type SupervisorIo } from "./supervisor.ts";

/** Replicas drain for `graceful_shutdown_timeout_s` (20 s unless told otherwise); the worker gets this long, ms. */
const WORKER_STOP_MS = 30_000;
const COORDINATOR_STOP_MS = 5_000;

export interface MeshOptions {
  readonly coordinator: CoordinatorOptions;
  /** Null: a coordinator alone. What only the coordinator knows (URLs, token, host) is filled in here. */
  readonly worker: Omit<AgentOptions, "meshUrls" | "joinToken" | "hostId"> | null;
}

/** How the programs are started; tests give their own. */
export interface Launchers {
  readonly coordinator: (options: CoordinatorOptions) => Life<CoordinatorReady>;
  readonly agent: (options: AgentOptions) => Life<AgentReady>;
}

export class Mesh {
  readonly #options: MeshOptions;
  readonly #launchers: Launchers;
  readonly #coordinator: Supervisor<CoordinatorReady>;
  readonly #io: SupervisorIo;
  #worker: Supervisor<AgentReady> | undefined;
  #ready: CoordinatorReady | undefined;

  constructor(
    options: MeshOptions,
    shell: Shell,
    launchers: Launchers = { coordinator: launchCoordinator, agent: launchAgent },
  ) {
    this.#options = options;
    this.#launchers = launchers;
    this.#io = supervisorIo(shell);
    this.#coordinator = new Supervisor("The coordinator", (again) => this.#launchCoordinator(again), this.#io);
    shell.kill.addEventListener("abort", () => this.kill(), { once: true });
  }

  /** The coordinator's own addresses and files. Throws before it is up. */
  get addresses(): CoordinatorReady {
    if (this.#ready === undefined) throw new CommandFailed(EXIT.failed, "The mesh is not up yet.");
    return this.#ready;
  }

  get pids(): { coordinator: number | undefined; worker: number | undefined } {
    return { coordinator: this.#coordinator.pid, worker: this.#worker?.pid };
  }

  /** Resolves when the coordinator serves and the worker runs; a failure stops what was started. `stop` interrupts it. */
  async start(stop: AbortSignal): Promise<CoordinatorReady> {
    try {
      await mkdir(this.#options.coordinator.dataDir, { recursive: true, mode: 0o700 });
      const ready = await unlessStopped(this.#coordinator.start(), stop);
      this.#ready = ready;
      if (this.#options.worker !== null) {
        this.#worker = new Supervisor("The worker", () => this.#launchWorker(), this.#io);
        await unlessStopped(this.#worker.start(), stop);
      }
      await writeMeshRecord(this.#options.coordinator.dataDir, {
        operatorsUrl: ready.operatorsUrl,
        meshUrl: ready.meshUrl,
        adminTokenFile: ready.adminTokenFile,
        pid: process.pid,
      });
      return ready;
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Serves until an operator ends the mesh: exit code 0. Throws `Interrupted`, or what went wrong when a program can't be kept running. */
  async stay(stop: AbortSignal): Promise<number> {
    const gaveUp = Promise.race([
      this.#coordinator.gaveUp,
      ...(this.#worker === undefined ? [] : [this.#worker.gaveUp]),
    ]);
    const reason = await unlessStopped(Promise.race([gaveUp, this.#coordinator.asked]), stop);
    if (reason === undefined) return EXIT.ok;
    throw new CommandFailed(
      EXIT.failed,
      `The mesh can't go on: ${reason} See the logs in ${this.#options.coordinator.dataDir}/logs.`,
    );
  }

  /** In order; resolves when no process is left. */
  async stop(): Promise<void> {
    await this.#worker?.stop(WORKER_STOP_MS);
    await this.#coordinator.stop(COORDINATOR_STOP_MS);
    if (this.#ready !== undefined) await removeMeshRecord(this.#options.coordinator.dataDir);
  }

  /** At once, by process id; what the worker started ends with it. */
  kill(): void {
    this.#worker?.kill();
    this.#coordinator.kill();
  }

  #launchCoordinator(again: boolean): Life<CoordinatorReady> {
    const { coordinator } = this.#options;
    // A coordinator that comes back keeps its state and its ports: workers and bookmarks point at them.
    const life = this.#launchers.coordinator(
      again && this.#ready !== undefined
        ? {
            ...coordinator,
            again: true,
            operators: { ...coordinator.operators, port: Number(new URL(this.#ready.operatorsUrl).port) },
            mesh: { ...coordinator.mesh, port: Number(new URL(this.#ready.meshUrl).port) },
          }
        : coordinator,
    );
    life.ready.then(
      (ready) => (this.#ready = ready),
      () => {},
    );
    return life;
  }

  #launchWorker(): Life<AgentReady> {
    const { worker } = this.#options;
    const { meshUrl, localJoinToken, hostId } = this.addresses;
    if (worker === null) throw new CommandFailed(EXIT.failed, "This mesh was started without a worker.");
    return this.#launchers.agent({ ...worker, meshUrls: [meshUrl], joinToken: localJoinToken, hostId });
  }
}

function unlessStopped<T>(work: Promise<T>, stop: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const interrupted = (): void => reject(new Interrupted());
    if (stop.aborted) interrupted();
    stop.addEventListener("abort", interrupted, { once: true });
    work.then(resolve, reject).finally(() => stop.removeEventListener("abort", interrupted));
  });
}
