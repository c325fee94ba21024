/** The coordinator as a virtual process: the shipping loop, sessions and store on virtual time, wired as coordinator/coordinator.ts does. */
import type { DeployOptions, DeployedApp } from "../../coordinator/events.ts";
import { Loop } from "../../coordinator/loop.ts";
import { deploymentsAtStart } from "../../coordinator/operators.ts";
import { Sessions } from "../../coordinator/sessions.ts";
import { initialState } from "../../coordinator/state.ts";
import { DesiredStore } from "../../coordinator/store/desired.ts";
import {
  applicationSchema,
  grpcOptionsSchema,
  httpOptionsSchema,
  type DeploymentConfig,
} from "../../protocol/config.ts";
import type { HostId } from "../../protocol/ids.ts";
import { RECOVERY_MS } from "../../protocol/limits.ts";
import { KEYS, KID, readFake, signFake } from "./crypto.ts";
import type { Listener } from "./network.ts";
import type { SimProcess } from "./process.ts";
import type { Scene } from "./scene.ts";

const TICK_MS = 250;
/** Requests that a Back has in hand. */
export const BACK_ONGOING = 10;
/** A write reaches the disk, and its caller hears of it, within this each, ms. */
const DISK_MS = 4;
export const JOIN_TOKEN = "join";
export const HEAD_HOST = "host-0";

export class CoordinatorProcess {
  readonly process: SimProcess;
  readonly term: number;
  readonly loop: Loop;
  readonly #sessions: Sessions;
  readonly #scene: Scene;

  private constructor(scene: Scene, process: SimProcess, opened: Awaited<ReturnType<typeof DesiredStore.open>>) {
    const { desired, term, stored } = opened;
    const random = scene.random(`coordinator ${process.pid}`);
    const now = (): number => scene.now;
    const disk = <T>(work: () => Promise<T>): Promise<T> =>
      new Promise((resolve, reject) => {
        process.after(
          random() * DISK_MS,
          "writes",
          () =>
            void work().then(
              (value) => process.after(random() * DISK_MS, "has written", () => resolve(value)),
              (error: unknown) => process.after(0, "could not write", () => reject(error as Error)),
            ),
        );
      });
    this.#scene = scene;
    this.process = process;
    this.term = scene.newestTerm = term;
    this.#sessions = new Sessions(
      () => this.loop,
      {
        ticket: (text) => readFake(text, now()),
        isGood: (token) => token === JOIN_TOKEN,
        redeem: (token) => token === JOIN_TOKEN,
        approval: () => null,
        sign: signFake,
        kid: KID,
        keys: KEYS,
      },
      now,
    );
    const start = {
      term,
      random: Math.floor(random() * 2 ** 32),
      headHost: HEAD_HOST as HostId,
      desired,
      nowMs: now(),
      recoveryMs: RECOVERY_MS,
    };
    this.loop = new Loop(
      { ...initialState(start), deployments: deploymentsAtStart(desired) },
      {
        now,
        send: (peer, message) => this.#sessions.send(peer, message),
        sign: signFake,
        kid: KID,
        keys: KEYS,
        save: (next) => disk(() => stored.save(next)),
        relays: () => [],
        build: () => scene.violated("nothing is built here", "a build was asked for"),
        problem: (message, cause) => {
          if (!this.superseded) scene.violated("the loop has no problems", `${message} ${String(cause)}`);
        },
      },
    );
    scene.coordinators.add(this);
    process.onEnd.push(() => void scene.coordinators.delete(this));
  }

  static async start(scene: Scene): Promise<CoordinatorProcess> {
    const process = scene.spawn("coordinator", HEAD_HOST);
    const coordinator = new CoordinatorProcess(
      scene,
      process,
      await DesiredStore.open(scene.store, { state: "mesh", again: false }),
    );
    const tick = (): void => {
      process.after(TICK_MS, "tick", tick);
      coordinator.#sessions.tick();
      void coordinator.loop.tick().catch(() => {});
    };
    process.after(TICK_MS, "tick", tick);
    void coordinator.loop.tick().catch(() => {});
    return coordinator;
  }

  /** Another one with a higher term has started: its writes conflict from now on. */
  get superseded(): boolean {
    return this.#scene.newestTerm > this.term;
  }

  listener(): Listener {
    return {
      process: this.process,
      accept: (connection) => {
        const session = this.#sessions.open({
          send: (text) => connection.send(text),
          close: (code, reason) => connection.close(code, reason),
        });
        return {
          onMessage: (text) => this.#sessions.receive(session, String(text)),
          onClose: () => this.#sessions.closed(session),
        };
      },
    };
  }

  /** An operator's deploy of the application. Resolves when it is durable. */
  deploy(wanted: {
    artefact: string;
    replicas: number;
    backs: number;
    maxOngoing: number;
    userConfig: unknown;
  }): Promise<void> {
    const of = (name: string, replicas: number, more: Partial<DeploymentConfig>): DeploymentConfig => ({
      name,
      num_replicas: replicas,
      max_ongoing_requests: wanted.maxOngoing,
      max_queued_requests: -1,
      graceful_shutdown_timeout_s: 12,
      graceful_shutdown_wait_loop_s: 0.1,
      ray_actor_options: { num_cpus: 1 },
      ...more,
    });
    const deployments = [
      of("Front", wanted.replicas, { user_config: wanted.userConfig }),
      of("Back", wanted.backs, { max_ongoing_requests: BACK_ONGOING }),
    ];
    const submitted = { name: "app", route_prefix: "/", import_path: "sim:app", deployments };
    const app: DeployedApp = {
      config: applicationSchema.parse(submitted),
      submitted,
      built: { artefact: wanted.artefact, manifest: this.#scene.manifest },
    };
    const options: DeployOptions = {
      proxyLocation: "EveryNode",
      http: httpOptionsSchema.parse({}),
      grpc: grpcOptionsSchema.parse({}),
      loggingConfig: null,
      targetCapacity: null,
    };
    return this.loop.dispatch({
      type: "deployed",
      source: "declarative",
      options,
      apps: [app],
      warnings: [],
      nowMs: this.#scene.now,
    });
  }
}
