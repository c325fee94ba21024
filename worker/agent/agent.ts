/**
 * The worker agent: keeps a control link, carries out what `reconcile` says after every change, and reports what it holds.
 * While the coordinator is away the replicas run on. Works in Node and in a tab; never runs user code.
 */
import type {
  Assignment,
  Capabilities,
  FromCoordinator,
  IngressAddress,
  Welcome,
  WorkerReport,
} from "../../protocol/control.ts";
import type { SkeinError } from "../../protocol/errors.ts";
import type { ReplicaOptions } from "../../protocol/local.ts";
import { ControlLink, type Identity } from "./control-link.ts";
import { IngressOfHost } from "./held-ingress.ts";
import { ReplicaOfWorker, type ReplicaHost } from "./held-replica.ts";
import { ENGINES_EVERY_TICKS, LEAVE_WITHIN_MS, REPORT_COALESCE_MS, REPORT_INTERVAL_MS, TICK_MS } from "./limits.ts";
import type { AgentPlatform, Cancel } from "./platform.ts";
import { newerAssignment, reconcile, type Action } from "./reconcile.ts";

export interface AgentSettings {
  /** Control endpoints of the mesh, tried in turn. */
  readonly urls: readonly string[];
  readonly identity: Identity;
  readonly joinToken: string;
  /** From an earlier life of this worker. */
  readonly ticket: string | null;
  readonly capabilities: Capabilities;
  readonly device: ReplicaOptions["device"];
  readonly allowSoftwareGpu: boolean;
  readonly logLevel: string;
}

export interface AgentEvents {
  /** The first time, and after every reconnection. */
  onJoined(welcome: Welcome): void;
  /** The mesh won't have this worker; it still holds what it held: call `leave`. */
  onRefused(error: SkeinError): void;
  onDown(reason: string): void;
}

/** Passes over the actions in one go at most; each pass follows from the one before, three are enough. */
const PASSES_MAX = 10;

export class Agent {
  readonly #platform: AgentPlatform;
  readonly #link: ControlLink;
  readonly #host: ReplicaHost;
  readonly #replicas = new Map<string, ReplicaOfWorker>();
  #ingress: IngressOfHost | null = null;
  #assignment: Assignment | null = null;
  #capabilities: Capabilities;
  #leaveBy: number | null = null;
  #left: (() => void) | null = null;
  #ticking: Cancel | null = null;
  #ticks = 0;
  #pending = false;
  #reconciling = false;
  #reportedAt = 0;

  constructor(settings: AgentSettings, platform: AgentPlatform, events: AgentEvents) {
    this.#platform = platform;
    this.#capabilities = settings.capabilities;
    const { identity, device, allowSoftwareGpu, logLevel } = settings;
    this.#link = new ControlLink(
      {
        urls: settings.urls,
        identity,
        token: settings.joinToken,
        ticket: settings.ticket,
        capabilities: settings.capabilities,
      },
      platform,
      {
        onWelcome: (welcome) => {
          platform.keepTicket(welcome.ticket);
          events.onJoined(welcome);
          this.#report();
        },
        onMessage: (message) => this.#receive(message),
        onRefused: (error) => events.onRefused(error),
        onDown: (reason) => events.onDown(reason),
      },
    );
    this.#host = {
      platform,
      worker: { id: identity.workerId, host: identity.hostId, kind: settings.capabilities.kind },
      device,
      allowSoftwareGpu,
      logLevel,
      ticket: () => this.#link.ticket,
      ingresses: () => this.#assignment?.ingresses ?? [],
      changed: () => this.#changed(),
      loads: (replica) => {
        const { app, deployment } = replica.spec;
        for (const other of this.#replicas.values())
          if (other.spec.app === app && other.spec.deployment !== deployment) other.hear(replica);
      },
      loading: (app) => [...this.#replicas.values()].filter(({ spec, isLoading }) => spec.app === app && isLoading),
    };
  }

  start(): void {
    this.#link.start();
    this.#tick();
  }

  /** Joins again with other capabilities (a probe of the GPU has ended). */
  announce(capabilities: Capabilities): void {
    this.#capabilities = capabilities;
    this.#link.announce(capabilities);
  }

  /** Ingress, then replicas drain, each within its bound; then the worker says goodbye. Resolves when nothing is left. */
  leave(reason: string): Promise<void> {
    return new Promise((resolve) => {
      this.#leaveBy = this.#platform.now() + LEAVE_WITHIN_MS;
      this.#left = () => {
        this.#link.send({ type: "leave", reason });
        this.#link.stop(reason);
        this.#ticking?.();
        resolve();
      };
      this.#changed();
    });
  }

  /** Ends every child at once, and the agent's part in the mesh. */
  kill(): void {
    this.#link.stop("Killed.");
    this.#ticking?.();
    for (const replica of this.#replicas.values()) replica.kill();
    this.#ingress?.kill();
  }

  #receive(message: FromCoordinator): void {
    if (message.type === "logs") this.#platform.sendLog(message, this.#link.ticket);
    else if (message.type === "assignment") this.#assigned(message);
  }

  #assigned(offered: Assignment): void {
    const before = this.#host.ingresses();
    this.#assignment = newerAssignment(this.#assignment, offered);
    if (!sameAddresses(before, this.#host.ingresses()))
      for (const replica of this.#replicas.values()) replica.tellIngresses();
    // Reported in any case: the coordinator waits for the version.
    this.#changed();
  }

  /** Something is different: reconcile and report at the end of this turn, once for all that this turn brings. */
  #changed(): void {
    if (this.#pending) return;
    this.#pending = true;
    this.#platform.after(REPORT_COALESCE_MS, () => {
      this.#pending = false;
      this.#reconcile();
      this.#report();
      if (this.#leaveBy !== null && this.#replicas.size === 0 && this.#ingress === null) {
        this.#left?.();
        this.#left = null;
      }
    });
  }

  #tick(): void {
    this.#ticking = this.#platform.after(TICK_MS, () => {
      this.#tick();
      this.#link.tick();
      for (const replica of this.#replicas.values()) replica.tick();
      this.#ingress?.tick();
      if (++this.#ticks % ENGINES_EVERY_TICKS === 0) this.#reportEngines();
      this.#reconcile();
      if (this.#platform.now() - this.#reportedAt >= REPORT_INTERVAL_MS) this.#report();
    });
  }

  #reconcile(): void {
    if (this.#reconciling) return;
    this.#reconciling = true;
    for (let pass = 0; pass < PASSES_MAX; pass += 1) {
      const actions = reconcile(
        this.#assignment,
        { room: this.#capabilities, replicas: this.#replicas, ingress: this.#ingress },
        this.#platform.now(),
        this.#leaveBy,
      );
      if (actions.length === 0) break;
      for (const action of actions) this.#carryOut(action);
      // Kills take effect when the process has ended; they would come again in every pass.
      if (actions.every((action) => action.do === "killReplica" || action.do === "killIngress")) break;
    }
    this.#reconciling = false;
  }

  #carryOut(action: Action): void {
    switch (action.do) {
      case "startReplica":
        this.#replicas.set(action.spec.replica, new ReplicaOfWorker(action.spec, this.#host));
        return;
      case "reconfigureReplica":
        return this.#replicas.get(action.spec.replica)?.reconfigure(action.spec);
      case "stopReplica":
        return this.#replicas.get(action.replica)?.stop(action.timeoutMs, action.waitLoopMs);
      case "killReplica":
        return this.#replicas.get(action.replica)?.kill();
      case "forgetReplica":
        this.#replicas.delete(action.replica);
        return;
      case "startIngress":
        if (this.#ingress === null)
          this.#ingress = new IngressOfHost(action.spec, this.#platform, () => this.#changed());
        else this.#ingress.start(action.spec);
        return;
      case "alterIngress":
        return this.#ingress?.alter(action.spec);
      case "stopIngress":
        return this.#ingress?.stop(action.drainMs);
      case "killIngress":
        return this.#ingress?.kill();
      case "forgetIngress":
        this.#ingress = null;
    }
  }

  #reportEngines(): void {
    const replicas = [...this.#replicas.values()]
      .filter(({ engines }) => engines.length > 0)
      .map(({ spec, engines }) => ({ replica: spec.replica, engines: [...engines] }));
    if (replicas.length > 0) this.#link.send({ type: "engines", replicas });
  }

  #report(): void {
    const report: WorkerReport = {
      type: "report",
      held: this.#assignment?.version ?? null,
      replicas: [...this.#replicas.values()]
        .filter((replica) => replica.phase !== "gone")
        .map((replica) => replica.report()),
      ingress: this.#ingress?.report() ?? null,
    };
    if (this.#link.send(report)) this.#reportedAt = this.#platform.now();
  }
}

const sameAddresses = (a: readonly IngressAddress[], b: readonly IngressAddress[]): boolean =>
  JSON.stringify(a) === JSON.stringify(b);
