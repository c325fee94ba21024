/** A replica as a virtual process: the shipping replica with the simulation's application, wired as worker/node/replica-main.ts does. */
import { ALIVE_MS } from "../../protocol/limits.ts";
import type { FromReplica, ReplicaOptions, ToReplica } from "../../protocol/local.ts";
import type { Child, ChildEvents } from "../../worker/agent/platform.ts";
import { Replica } from "../../worker/replica/replica.ts";
import { applicationFor } from "./application.ts";
import type { End } from "./network.ts";
import type { SimProcess } from "./process.ts";
import type { Scene } from "./scene.ts";

/** Between a parent and its child, ms. */
const IPC_MS = 0.1;

export class ReplicaProcess implements Child<ToReplica> {
  readonly process: SimProcess;
  readonly options: ReplicaOptions;
  readonly replica: Replica;
  ready = false;
  /** A stop has come. */
  stopping = false;
  readonly #parent: SimProcess;

  constructor(
    scene: Scene,
    parent: SimProcess,
    slowness: number,
    options: ReplicaOptions,
    events: ChildEvents<FromReplica>,
  ) {
    const process = scene.spawn(`replica ${options.spec.replica}`, parent.host);
    const random = scene.random(`replica ${process.pid}`);
    this.process = process;
    this.options = options;
    this.#parent = parent;
    const toParent = (label: string, action: () => void): void =>
      void scene.clock.after(IPC_MS, `${process.name} ${label}`, () => parent.run(label, action));
    const tell = (message: FromReplica): void => {
      if (message.type === "status") this.ready ||= message.state === "ready";
      if (process.alive) toParent(message.type, () => events.onMessage(message));
    };
    const place = { process, ledger: scene.ledger, slowness, now: () => scene.clock.now };
    this.replica = new Replica({
      options,
      tell,
      build: "sim",
      platform: {
        now: () => scene.now,
        random,
        after: (ms, callback) => process.after(ms, "timer", callback),
        afterTurn: (callback) => void process.after(0, "turn", callback),
        connect: (url, on) => {
          const end: End = scene.network.dial(
            "data",
            process,
            url,
            () => scene.ingresses.get(url)?.listener() ?? null,
            {
              onOpen: () => on.onOpen(),
              onMessage: (message) => on.onMessage(message as Uint8Array),
              onClose: (code, reason) => on.onClose(code, reason),
            },
          );
          return { send: (message) => end.send(message), close: (code, reason) => end.close(code, reason) };
        },
        importBundle: () =>
          new Promise(
            (resolve) => void process.after(20 + random() * 200, "imports", () => resolve(applicationFor(place))),
          ),
        log: () => {},
      },
    });
    scene.replicas.add(this);
    process.onEnd.push(() => {
      scene.replicas.delete(this);
      scene.ledger.died(process, scene.clock.now);
      toParent("exit", () => events.onExit("The process ended."));
    });
    process.after(30, "starts", () => void this.#start());
    const alive = (): void => {
      process.after(ALIVE_MS, "alive", alive);
      tell({ type: "alive", ongoing: this.replica.ongoing });
    };
    process.after(ALIVE_MS, "alive", alive);
  }

  get pid(): number {
    return this.process.pid;
  }

  tell(message: ToReplica): void {
    if (!this.#parent.alive) return;
    this.process.after(IPC_MS, message.type, () => {
      if (message.type !== "stop") return this.replica.receive(message);
      this.stopping = true;
      void this.replica.stop(message.timeoutMs).then(() => this.process.kill());
    });
  }

  kill(): void {
    this.process.kill();
  }

  async #start(): Promise<void> {
    if (!(await this.replica.start())) this.process.after(100, "exits", () => this.process.kill());
  }
}
