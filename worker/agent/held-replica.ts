/**
 * One replica of this worker, from fetching its code to its end: what it was told, what it last said, whether it gives signs of life.
 * Decides nothing about whether it should be here (reconcile.ts); knows no processes (platform.ts).
 */
import type { Manifest } from "../../protocol/artefact.ts";
import type { IngressAddress, ReplicaReport, ReplicaSpec } from "../../protocol/control.ts";
import type { EngineReport } from "../../protocol/engine-stats.ts";
import { SkeinError } from "../../protocol/errors.ts";
import type { FromReplica, ReplicaOptions, ToReplica } from "../../protocol/local.ts";
import {
  FETCH_ATTEMPTS,
  FETCH_RETRY_MS,
  SILENT_TICKS_KILL,
  SILENT_TICKS_KILL_STARTING,
  SILENT_TICKS_UNHEALTHY,
  STOP_GRACE_MS,
  TICK_MS,
} from "./limits.ts";
import type { AgentPlatform, Child } from "./platform.ts";
import type { HeldReplica } from "./reconcile.ts";

/** What every replica of a worker shares. */
export interface ReplicaHost {
  readonly platform: AgentPlatform;
  readonly worker: ReplicaOptions["worker"];
  readonly device: ReplicaOptions["device"];
  readonly allowSoftwareGpu: boolean;
  readonly logLevel: string;
  ticket(): string;
  ingresses(): readonly IngressAddress[];
  /** What the next report says has changed. */
  changed(): void;
  /** What this replica loads; the application's other replicas here may tell their callers. */
  loads(replica: ReplicaOfWorker): void;
  /** Replicas of an application that load here. */
  loading(app: string): readonly ReplicaOfWorker[];
}

type Status = Pick<
  ReplicaReport,
  "state" | "progress" | "error" | "reconfigureError" | "userConfigVersion" | "ongoing" | "maxOngoingRequests"
>;

interface Loading {
  readonly doing: string;
  /** s, where that can be told. */
  readonly leftS: number | undefined;
}

export class ReplicaOfWorker implements HeldReplica {
  spec: ReplicaSpec;
  phase: HeldReplica["phase"] = "live";
  killAt: number | null = null;
  readonly #host: ReplicaHost;
  #child: Child<ToReplica> | null = null;
  #status: Status;
  #startedAtMs: number;
  #wasReady = false;
  #silentTicks = 0;
  /** What its engines last told. */
  engines: readonly EngineReport[] = [];
  /** What it does until its model is there. */
  #loads: Loading | null = null;
  /** Why we ended it, where we did. */
  #verdict: string | null = null;

  constructor(spec: ReplicaSpec, host: ReplicaHost) {
    this.spec = spec;
    this.#host = host;
    this.#startedAtMs = host.platform.now();
    this.#status = {
      state: "starting",
      progress: "fetching its code",
      userConfigVersion: spec.userConfigVersion,
      ongoing: 0,
    };
    void this.#start();
  }

  /** New options that it can take while it runs. */
  reconfigure(spec: ReplicaSpec): void {
    this.spec = spec;
    this.#child?.tell({
      type: "reconfigure",
      userConfig: spec.userConfig,
      userConfigVersion: spec.userConfigVersion,
      maxOngoingRequests: spec.maxOngoingRequests,
      ticket: spec.ticket,
    });
  }

  /** The assignment's ingresses have changed. */
  tellIngresses(): void {
    this.#child?.tell({ type: "ingresses", ingresses: this.#ingresses() });
  }

  /** Those that this replica dials. */
  #ingresses(): IngressAddress[] {
    return this.#host
      .ingresses()
      .filter(({ replicas }) => replicas?.includes(this.spec.replica) ?? true)
      .map(({ ingress, host, urls }) => ({ ingress, host, urls }));
  }

  /** Drains it. One that never was ready has nothing to drain. */
  stop(timeoutMs: number, waitLoopMs: number): void {
    this.#set({ state: "stopping", progress: undefined });
    if (this.#child === null) {
      this.#gone();
      return;
    }
    this.phase = "stopping";
    this.killAt = this.#host.platform.now() + timeoutMs + STOP_GRACE_MS;
    if (this.#wasReady) this.#child.tell({ type: "stop", timeoutMs, waitLoopMs });
    else this.#child.kill();
  }

  kill(): void {
    this.#child?.kill();
  }

  /** Call every TICK_MS: looks after silence. */
  tick(): void {
    if (this.#child === null || this.phase !== "live") return;
    this.#silentTicks += 1;
    const bound = this.#wasReady ? SILENT_TICKS_KILL : SILENT_TICKS_KILL_STARTING;
    if (this.#silentTicks >= bound) {
      this.#verdict ??= `Its main thread gave no sign of life for ${(bound * TICK_MS) / 1000} s, so it was killed.`;
      this.#child.kill();
    } else if (this.#silentTicks === SILENT_TICKS_UNHEALTHY && this.#wasReady) {
      this.#set({
        state: "unhealthy",
        error: `Its main thread has given no sign of life for ${(SILENT_TICKS_UNHEALTHY * TICK_MS) / 1000} s.`,
      });
    }
  }

  report(): ReplicaReport {
    return {
      ...this.#status,
      replica: this.spec.replica,
      incarnation: this.spec.incarnation,
      ...(this.#status.state === "failed" ? { startup: !this.#wasReady } : {}),
      pid: this.#child?.pid ?? null,
      startedAtMs: this.#startedAtMs,
    };
  }

  async #start(): Promise<void> {
    const { platform } = this.#host;
    try {
      const { manifest, bundle } = await this.#fetchCode();
      if (this.phase !== "live") return;
      this.#set({ progress: "starting its process" });
      const options: ReplicaOptions = {
        spec: this.spec,
        manifest,
        bundle,
        ingresses: this.#ingresses(),
        worker: this.#host.worker,
        device: this.#host.device,
        allowSoftwareGpu: this.#host.allowSoftwareGpu,
        logLevel: this.#host.logLevel,
      };
      this.#child = platform.startReplica(options, {
        onMessage: (message) => this.#heard(message),
        onExit: (how) => this.#exited(how),
      });
      this.#host.changed();
    } catch (thrown) {
      if (this.phase === "live") this.#failed(SkeinError.from(thrown).message);
    }
  }

  async #fetchCode(): Promise<{ manifest: Manifest; bundle: string }> {
    const { platform } = this.#host;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const manifest = await platform.fetchManifest(this.spec.artefact, this.#host.ticket());
        return { manifest, bundle: await platform.fetchBundle(manifest, this.#host.ticket()) };
      } catch (thrown) {
        if (attempt >= FETCH_ATTEMPTS || this.phase !== "live") throw thrown;
        await new Promise<void>((resolve) => platform.after(FETCH_RETRY_MS, resolve));
      }
    }
  }

  get isLoading(): boolean {
    return this.#loads !== null;
  }

  /** Tells this replica what another one loads. */
  hear(other: ReplicaOfWorker): void {
    const { doing = null, leftS } = other.#loads ?? {};
    this.#child?.tell({ type: "loading", deployment: other.spec.deployment, doing, leftS });
  }

  #load(loads: Loading | null): void {
    if (this.#loads === null && loads === null) return;
    this.#loads = loads;
    this.#host.loads(this);
  }

  #heard(message: FromReplica): void {
    this.#silentTicks = 0;
    switch (message.type) {
      case "alive":
        this.engines = message.engines ?? [];
        this.#status = { ...this.#status, ongoing: message.ongoing };
        if (this.#wasReady && this.#status.state === "unhealthy" && this.#verdict === null && this.#ownError === null)
          this.#set({ state: "ready", error: undefined });
        return;
      case "needModel":
        void this.#locateModel(message);
        return;
      case "log":
        return;
      case "status":
        this.#said(message);
    }
  }

  /** The error of its own last status: silence alone makes a replica unhealthy only until it is heard again. */
  #ownError: string | null = null;

  #said(message: Extract<FromReplica, { type: "status" }>): void {
    const { type: _, ...status } = message;
    this.#ownError = message.state === "unhealthy" ? (message.error ?? "It says that it is unhealthy.") : null;
    if (message.state === "ready" && !this.#wasReady)
      for (const other of this.#host.loading(this.spec.app)) this.hear(other);
    if (message.state === "ready" || message.state === "unhealthy") this.#wasReady = true;
    if (message.state !== "starting") this.#load(null);
    if (message.state === "failed") {
      this.#verdict ??= message.error ?? "It failed without saying why.";
      // It should end by itself, after its last words; the clock is for the case that it doesn't.
      this.#host.platform.after(STOP_GRACE_MS, () => this.#child?.kill());
    }
    // Drained or not, from here on it is on its way out.
    this.#status = this.phase === "stopping" ? { ...status, state: "stopping" } : status;
    this.#host.changed();
  }

  #exited(how: string): void {
    this.#child = null;
    if (this.phase === "stopping") this.#gone();
    else this.#failed(this.#verdict ?? how);
  }

  #failed(error: string): void {
    this.#load(null);
    this.phase = "ended";
    this.#set({ state: "failed", progress: undefined, error, ongoing: 0 });
  }

  #gone(): void {
    this.phase = "gone";
    this.killAt = null;
    this.#host.changed();
  }

  async #locateModel({ id, ...wanted }: Extract<FromReplica, { type: "needModel" }>): Promise<void> {
    const { name, provider, slotLength } = wanted;
    const onProgress = (progress: string, leftS?: number): void => {
      if (this.#status.state !== "starting") return;
      this.#set({ progress });
      this.#load({ doing: progress, leftS });
    };
    try {
      const { platform, ticket } = this.#host;
      const model = await platform.locateModel(name, provider, ticket(), onProgress, slotLength);
      this.#child?.tell({ type: "model", id, model, error: null });
    } catch (thrown) {
      this.#child?.tell({ type: "model", id, model: null, error: SkeinError.from(thrown).message });
    }
  }

  #set(change: Partial<Status>): void {
    this.#status = { ...this.#status, ...change };
    this.#host.changed();
  }
}
