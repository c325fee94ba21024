/** A worker: the shipping agent as a virtual process that its parent starts again whenever it ends, and what it keeps on its disk. */
import type { FromIngress, ToIngress } from "../../protocol/local.ts";
import { Agent } from "../../worker/agent/agent.ts";
import type { AgentPlatform, Child } from "../../worker/agent/platform.ts";
import { JOIN_TOKEN } from "./coordinator-process.ts";
import { IngressProcess } from "./ingress-process.ts";
import { dialCoordinator } from "./dial.ts";
import type { SimProcess } from "./process.ts";
import { ReplicaProcess } from "./replica-process.ts";
import type { Scene } from "./scene.ts";

export interface WorkerPlan {
  readonly id: string;
  readonly host: string;
  readonly cpus: number;
  readonly slowness: number;
}

export class Worker {
  readonly plan: WorkerPlan;
  process!: SimProcess;
  agent!: Agent;
  /** Its own replicas and ingress, alive. */
  readonly children = new Set<SimProcess>();
  readonly #scene: Scene;
  /** What the present process last said to be let in. */
  lastJoin = "";
  #incarnation = 0;
  #ticket: string | null = null;
  #ended = false;

  constructor(scene: Scene, plan: WorkerPlan) {
    this.#scene = scene;
    this.plan = plan;
    this.#start();
  }

  /** The whole machine is taken away for good. */
  end(): void {
    this.#ended = true;
    this.process.kill();
  }

  #start(): void {
    const scene = this.#scene;
    const { id, host, cpus } = this.plan;
    const process = scene.spawn(`agent ${id}`, host);
    this.process = process;
    this.#incarnation += 1;
    const capabilities = {
      cpus,
      gpus: 0,
      memory: 1e12,
      resources: {},
      kind: "node" as const,
      providers: ["wasm"],
      adapter: null,
      platform: "sim",
      name: id,
    };
    this.agent = new Agent(
      {
        urls: ["sim://coordinator"],
        identity: { workerId: id, hostId: host, incarnation: this.#incarnation, build: "sim" },
        joinToken: JOIN_TOKEN,
        ticket: this.#ticket,
        capabilities,
        device: "auto",
        allowSoftwareGpu: false,
        logLevel: "info",
      },
      this.#platform(process),
      {
        onJoined: () => {},
        onRefused: (error) => scene.violated("a worker is never refused for good", `${id}: ${error.message}`),
        onDown: () => {},
      },
    );
    process.onEnd.push(() => {
      // Children see their parent's death.
      for (const child of [...this.children]) child.kill();
      if (!this.#ended) scene.clock.after(250, `agent ${id} again`, () => this.#start());
    });
    process.run("start", () => this.agent.start());
  }

  #platform(process: SimProcess): AgentPlatform {
    const scene = this.#scene;
    const random = scene.random(`agent ${process.pid}`);
    const soon = <T>(value: T): Promise<T> =>
      new Promise((resolve) => void process.after(random() * 20, "reads", () => resolve(value)));
    const child = <C extends Child<never> & { process: SimProcess }>(made: C): C => {
      this.children.add(made.process);
      made.process.onEnd.push(() => void this.children.delete(made.process));
      return made;
    };
    return {
      now: () => scene.now,
      random,
      after: (ms, callback) => process.after(ms, "timer", callback),
      connect: (_url, events) => {
        const connection = dialCoordinator(scene, process, events);
        const send = (message: string): void => {
          if (message.startsWith('{"type":"join"')) this.lastJoin = message;
          connection.send(message);
        };
        return { send, close: connection.close };
      },
      fetchManifest: () => soon(scene.manifest),
      fetchBundle: () => soon("bundle"),
      locateModel: () => Promise.reject(new Error("no models here")),
      startReplica: (options, events) => child(new ReplicaProcess(scene, process, this.plan.slowness, options, events)),
      startIngress: (spec, events) =>
        child(new IngressProcess(scene, process, `sim://${this.plan.id}/link`, spec, events)) as Child<ToIngress> & {
          events?: FromIngress;
        },
      sendLog: () => {},
      keepTicket: (ticket) => void (this.#ticket = ticket),
    };
  }
}
