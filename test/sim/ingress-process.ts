/**
 * An ingress as a virtual process: the shipping mesh, sessions, control link and forwarding, wired as ingress/ingress.ts does.
 * Its client listener is `Request` (clients.ts), its mesh listener the virtual network.
 */
import { ControlLink } from "../../ingress/control.ts";
import { Sessions } from "../../ingress/links/session.ts";
import { Mesh } from "../../ingress/mesh.ts";
import { ALIVE_MS } from "../../protocol/limits.ts";
import type { Link } from "../../protocol/link.ts";
import { compareVersions } from "../../protocol/ids.ts";
import type { IngressReport, IngressSpec } from "../../protocol/control.ts";
import type { FromIngress, ToIngress } from "../../protocol/local.ts";
import type { RoutingTable } from "../../protocol/routes.ts";
import type { PublicKey } from "../../protocol/ticket.ts";
import type { Child, ChildEvents } from "../../worker/agent/platform.ts";
import { dialCoordinator } from "./dial.ts";
import type { Listener } from "./network.ts";
import type { SimProcess } from "./process.ts";
import type { Scene } from "./scene.ts";

const TICK_MS = 250;
const IPC_MS = 0.1;

export class IngressProcess implements Child<ToIngress> {
  readonly process: SimProcess;
  readonly id: string;
  readonly mesh: Mesh;
  readonly sessions: Sessions;
  /** Takes clients. */
  serving = false;
  /** Requests that clients have here. */
  readonly requests = new Set<{ broken(): void }>();
  /** When the table was last replaced, ms. */
  tableAt = Number.NEGATIVE_INFINITY;
  /** Of replicas; those that are closed too. */
  readonly links = new Set<Link>();
  readonly #scene: Scene;
  readonly #control: ControlLink;
  #keys: readonly PublicKey[] = [];

  /** @param url where replicas dial it: as a port, the same in every life on the same worker */
  constructor(scene: Scene, parent: SimProcess, url: string, spec: IngressSpec, events: ChildEvents<FromIngress>) {
    const process = scene.spawn(spec.ingress, parent.host);
    const random = scene.random(`ingress ${process.pid}`);
    const now = (): number => scene.clock.now;
    this.#scene = scene;
    this.process = process;
    this.id = spec.ingress;
    this.mesh = new Mesh({ host: parent.host, now, random });
    this.mesh.onQueueEdge = () => this.#control.changed();
    this.sessions = new Sessions({
      mesh: this.mesh,
      ingress: spec.ingress,
      build: "sim",
      now,
      after: (ms, callback) => process.after(ms, "timer", callback),
      pool: (app, deployment) => this.mesh.pool(app, deployment),
      meshTime: () => scene.now,
      keys: () => this.#keys,
    });
    this.#control = new ControlLink(
      {
        urls: ["sim://coordinator"],
        ingress: spec.ingress,
        host: parent.host,
        build: "sim",
        incarnation: process.pid,
        now,
        random,
        connect: (_url, on) => dialCoordinator(scene, process, on),
        stats: () => this.mesh.stats(),
        onTable: (table) => this.#take(table),
        onWelcome: (keys) => void (this.#keys = keys),
        log: () => {},
      },
      spec.ticket,
    );
    const toParent = (label: string, action: () => void): void =>
      void scene.clock.after(IPC_MS, `${process.name} ${label}`, () => parent.run(label, action));
    const report = (): void => {
      const said: IngressReport = {
        ingress: spec.ingress,
        state: "ready",
        urls: [url],
        http: { host: "127.0.0.1", port: 8000 },
        grpc: null,
        pid: process.pid,
      };
      toParent("report", () => events.onMessage({ type: "report", report: said }));
    };
    const alive = (): void => {
      process.after(ALIVE_MS, "alive", alive);
      toParent("alive", () => events.onMessage({ type: "alive" }));
    };
    process.onEnd.push(() => {
      if (scene.ingresses.get(url) === this) scene.ingresses.delete(url);
      for (const request of [...this.requests]) request.broken();
      toParent("exit", () => events.onExit("The process ended."));
    });
    process.after(30 + random() * 100, "starts", () => {
      scene.ingresses.set(url, this);
      const remembered = scene.disk.get(spec.ingress);
      if (remembered !== undefined) this.#take(remembered);
      this.serving = true;
      alive();
      report();
      this.#tick();
    });
  }

  get pid(): number {
    return this.process.pid;
  }

  tell(message: ToIngress): void {
    this.process.after(IPC_MS, message.type, () => {
      if (message.type === "spec") this.#control.useCredential(message.spec.ticket);
      else this.#stop(message.drainMs);
    });
  }

  kill(): void {
    this.process.kill();
  }

  listener(): Listener {
    return {
      process: this.process,
      accept: (connection) => {
        const session = this.sessions.open({
          send: (message) => connection.send(message),
          close: (code, reason) => {
            if (code === 1002 || code === 1011)
              this.#scene.violated("no link breaks the protocol", `${this.id} closes with ${code}: ${reason}`);
            connection.close(code, reason);
          },
          afterTurn: (callback) => void this.process.after(0, "turn", callback),
        });
        this.links.add(session.link);
        return {
          onMessage: (message) => session.link.receive(message as Uint8Array, this.#scene.clock.now),
          onClose: (code, reason) => session.link.closed(code, reason, this.#scene.clock.now),
        };
      },
    };
  }

  #take(table: RoutingTable): void {
    const known = this.mesh.table;
    this.tableAt = this.#scene.clock.now;
    if (!this.mesh.apply(table)) return;
    this.#keys = table.keys;
    this.sessions.enforce();
    if (known === null || compareVersions(table.version, known.version) !== 0) this.#scene.disk.set(this.id, table);
  }

  #tick(): void {
    this.process.after(TICK_MS, "tick", () => this.#tick());
    this.mesh.tick();
    this.sessions.tick(this.#scene.clock.now);
    this.#control.tick();
  }

  #stop(drainMs: number): void {
    if (!this.#scene.settled && this.#scene.options.hosts === 1)
      this.#scene.violated(
        "an ingress stays where it was put",
        `${this.process.name} is stopped while the mesh comes up`,
      );
    this.serving = false;
    const until = this.#scene.clock.now + drainMs;
    const look = (): void => {
      if (this.requests.size > 0 && this.#scene.clock.now < until) return void this.process.after(50, "drains", look);
      this.sessions.closeAll("The ingress stops.");
      this.#control.stop();
      this.process.after(10, "exits", () => this.process.kill());
    };
    look();
  }
}
