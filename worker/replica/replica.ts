/**
 * One replica: links to every ingress, one constructed deployment between them, strict admission, health, new config, and a good end.
 * Platform-neutral; processes and Web Workers wrap it (worker/node/replica-main.ts).
 */
import { DEPLOYMENT_DEFAULTS } from "../../protocol/config.ts";
import type { IngressAddress } from "../../protocol/control.ts";
import { SkeinError } from "../../protocol/errors.ts";
import type { OpenHead } from "../../protocol/heads.ts";
import { CLOSE, type Link } from "../../protocol/link.ts";
import type { FromReplica, ReplicaOptions, ToReplica } from "../../protocol/local.ts";
import type { Stream, StreamEvents } from "../../protocol/stream.ts";
import { RequestContext, type ReplicaContext } from "../../serve/context.ts";
import type { Instance } from "../../serve/instance.ts";
import { runtime } from "../../serve/runtime.ts";
import { constructDeployment, replicaContext } from "./application.ts";
import { serveCall } from "./call.ts";
import { LinkCaller, type Links } from "./caller.ts";
import type { GrpcMethods } from "./grpc-methods.ts";
import { serveGrpc } from "./grpc.ts";
import { checkOnce, watchHealth } from "./health.ts";
import { serveHttp } from "./http.ts";
import { IngressLink, type IngressLinkOwner } from "./ingress-link.ts";
import type { ReplicaPlatform } from "./platform.ts";
import { Work, type WorkOwner } from "./work.ts";

/** Liveness of links, deadlines and load reports are looked at this often, ms. */
const TICK_MS = 250;
/** Requests that were called off but whose code still runs count up to this many times the limit; above it the replica says busy. */
const ABANDONED_FACTOR = 4;
/** After goaway the replica stays this long, ms, so that opens already under way are answered busy instead of lost. */
const DRAIN_LINGER_MS = 300;
const DRAIN_POLL_MS = 20;
/** dispose() may take this long, ms. */
const DISPOSE_TIMEOUT_MS = 5_000;
/** For the first link, ms: longer, and the ingresses are away; the replica is ready all the same. */
const FIRST_LINK_WAIT_MS = 500;

type Status = Extract<FromReplica, { type: "status" }>;
const IGNORE: StreamEvents = {};

export interface ReplicaParts {
  readonly platform: ReplicaPlatform;
  readonly options: ReplicaOptions;
  readonly build: string;
  tell(message: FromReplica): void;
}

export class Replica implements IngressLinkOwner, WorkOwner, Links {
  readonly platform: ReplicaPlatform;
  readonly build: string;
  readonly #options: ReplicaOptions;
  readonly #tell: (message: FromReplica) => void;
  readonly #context: ReplicaContext;
  readonly #links = new Map<string, IngressLink>();
  readonly #running = new Set<Work>();
  readonly #abandoned = new Set<Work>();
  #instance: Instance | undefined;
  /** Codecs of the gRPC services; null where there are none. */
  #grpc: Promise<GrpcMethods> | null = null;
  #state: Status["state"] = "starting";
  #ticket: string;
  #addresses: readonly IngressAddress[];
  #limit: number;
  #derivedLimit: number | undefined;
  #configVersion: number;
  readonly #started = Promise.withResolvers<void>();
  /** Configurations one after another, from the start on. */
  #configuring: Promise<void> = this.#started.promise;
  #failure = "";
  #reportedLoad = 0;
  #turn = 0;
  #requests = 0;
  #waiters: (() => void)[] = [];
  #stops: (() => void)[] = [];

  constructor({ platform, options, build, tell }: ReplicaParts) {
    this.platform = platform;
    this.build = build;
    this.#options = options;
    this.#tell = tell;
    this.#context = replicaContext(options);
    this.#ticket = options.spec.ticket;
    this.#addresses = options.ingresses;
    this.#limit = options.spec.maxOngoingRequests;
    this.#configVersion = options.spec.userConfigVersion;
  }

  /** Links, evaluates, constructs, initialises. Resolves true when ready, false when it failed (and has said so). */
  async start(): Promise<boolean> {
    try {
      return await this.#start();
    } finally {
      this.#started.resolve();
    }
  }

  async #start(): Promise<boolean> {
    const { spec } = this.#options;
    runtime().replica = this.#context;
    this.#status({ progress: "loading code" });
    this.#dial(this.#addresses);
    this.#tick();
    try {
      this.#grpc = grpcOf(this.#options);
      await this.#grpc;
      const instance = await constructDeployment(this.platform, this.#options, new LinkCaller(this));
      this.#status({ progress: "initialising" });
      await instance.start(spec.app, spec.userConfig);
      const ill = await checkOnce(this.platform, {
        timeoutMs: spec.healthCheckTimeoutS * 1000,
        check: () => instance.checkHealth(),
      });
      if (ill !== undefined) throw new SkeinError("APPLICATION_ERROR", `The first health check failed. ${ill}`);
      this.#instance = instance;
      // Ready and out of reach, it would be given requests that can only wait, and a short queue would refuse them.
      if (this.#links.size > 0 && this.pick() === undefined) await this.changed(FIRST_LINK_WAIT_MS);
    } catch (error) {
      this.#state = "failed";
      this.log("error", `${spec.replica} could not start: ${stackOf(error)}`);
      this.#failure = messageOf(error);
      this.#status({ error: this.#failure });
      return false;
    }
    // A stop may have come while user code was starting.
    if (this.#state !== "starting") return true;
    this.#state = "ready";
    this.#status();
    if (this.#instance.checksHealth) this.#watchHealth(this.#instance);
    return true;
  }

  receive(message: ToReplica): void {
    switch (message.type) {
      case "ingresses":
        // One that overtook the start is newer than the options.
        this.#addresses = message.ingresses;
        this.#dial(message.ingresses);
        return;
      case "reconfigure":
        this.#ticket = message.ticket;
        this.#limit = message.maxOngoingRequests;
        this.#derivedLimit = undefined;
        this.#configuring = this.#configuring.then(() =>
          this.#reconfigure(message.userConfig, message.userConfigVersion),
        );
        return;
      case "loading":
        if (message.doing === null) runtime().loading.delete(message.deployment);
        else runtime().loading.set(message.deployment, { doing: message.doing, leftS: message.leftS });
        return;
      default:
        // `stop` is the shell's to await; `model` answers the engine host.
        return;
    }
  }

  /** An engine has this many slots: the limit, unless the deployment said one. */
  limitFromEngine(slots: number): void {
    const { manifest, spec } = this.#options;
    const code = manifest.graph.deployments.find((d) => d.name === spec.deployment)?.options["max_ongoing_requests"];
    if (code !== undefined || spec.maxOngoingRequests !== DEPLOYMENT_DEFAULTS.max_ongoing_requests) return;
    this.#derivedLimit = slots;
  }

  /** What it does now, as a person would say it; shown while it starts. */
  progress(text: string): void {
    if (this.#state === "starting") this.#status({ progress: text });
  }

  /** A part of it (the engine) is gone for good: the agent replaces the replica. */
  unhealthy(error: string): void {
    if (this.#state === "stopping" || this.#state === "failed") return;
    this.#state = "unhealthy";
    this.#status({ error });
  }

  /** Drains: goaway on every link, what runs is finished (up to `timeoutMs`), user code disposes. */
  async stop(timeoutMs: number): Promise<void> {
    if (this.#state !== "failed") this.#state = "stopping";
    this.#status();
    for (const link of this.#links.values()) link.goaway("The replica stops.");
    const until = this.platform.now() + timeoutMs;
    await this.#pause(Math.min(DRAIN_LINGER_MS, timeoutMs));
    while (this.#running.size > 0 && this.platform.now() < until) await this.#pause(DRAIN_POLL_MS);
    for (const work of [...this.#running]) {
      work.stream.fail({ code: "REPLICA_DIED", message: "The replica was stopped before the request was done." });
      work.cancel("CANCELLED", "The replica stops.");
    }
    for (const stop of this.#stops.splice(0)) stop();
    const disposed = this.#instance
      ?.dispose()
      .catch((error: unknown) => this.log("error", `dispose failed: ${stackOf(error)}`));
    await Promise.race([disposed, this.#pause(DISPOSE_TIMEOUT_MS)]);
    for (const link of this.#links.values()) link.close(CLOSE.goingAway, "The replica has stopped.");
    this.#links.clear();
  }

  /** Why it could not start. */
  get failure(): string {
    return this.#failure;
  }

  get ongoing(): number {
    return this.#running.size;
  }

  // --- for links and calls ---

  ticket(): string {
    return this.#ticket;
  }
  load(): number {
    return this.#running.size;
  }
  now(): number {
    return this.platform.now();
  }
  requestId(): string {
    return `${this.#context.replicaId}-${++this.#requests}`;
  }
  log(level: "info" | "warn" | "error", text: string): void {
    this.platform.log(level, text);
  }

  pick(): Link | undefined {
    const links = [...this.#links.values()];
    const local = links.find((link) => link.host === this.#context.hostId && link.ready !== undefined);
    if (local !== undefined) return local.ready;
    const ready = links.filter((link) => link.ready !== undefined);
    return ready[this.#turn++ % Math.max(ready.length, 1)]?.ready;
  }

  changed(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const stop = this.platform.after(ms, resolve);
      this.#waiters.push(() => {
        stop();
        resolve();
      });
    });
  }

  onChange(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }

  onStream(_link: IngressLink, stream: Stream, head: OpenHead, ended: boolean): StreamEvents {
    const instance = this.#instance;
    const limit = this.#derivedLimit ?? this.#limit;
    const serving = this.#state === "ready" || this.#state === "unhealthy";
    if (
      !serving ||
      instance === undefined ||
      this.#running.size >= limit ||
      this.#abandoned.size >= limit * ABANDONED_FACTOR
    ) {
      stream.busy();
      return IGNORE;
    }
    const context = new RequestContext({
      requestId: head.requestId,
      deadline: head.deadlineMs === null ? null : this.platform.now() + head.deadlineMs,
      multiplexedModelId: head.model,
      replica: this.#context,
      hops: head.hops,
    });
    const work = new Work(this, stream, head, context, instance);
    this.#running.add(work);
    this.#loadChanged();
    stream.accept();
    switch (head.kind) {
      case "http":
        return serveHttp(work, head, ended);
      case "call":
        return serveCall(work, head, ended);
      case "grpc":
        return serveGrpc(work, head, ended, this.#grpc);
    }
  }

  onCancelled(work: Work): void {
    if (!this.#running.delete(work)) return;
    this.#abandoned.add(work);
    this.#loadChanged();
  }

  onDone(work: Work): void {
    this.#abandoned.delete(work);
    if (this.#running.delete(work)) this.#loadChanged();
  }

  // --- own ---

  #dial(addresses: readonly IngressAddress[]): void {
    const wanted = new Map(addresses.map((address) => [address.ingress, address]));
    for (const [ingress, link] of this.#links)
      if (!wanted.has(ingress)) {
        link.retire();
        if (link.over) this.#links.delete(ingress);
      }
    for (const [ingress, address] of wanted) {
      const link = this.#links.get(ingress);
      if (link === undefined) this.#links.set(ingress, new IngressLink(this, address));
      else link.readdress(address);
    }
  }

  #loadChanged(): void {
    for (const link of this.#links.values()) link.setLoad(this.#running.size);
  }

  #tick(): void {
    const now = this.platform.now();
    for (const link of this.#links.values()) link.tick(now);
    for (const work of this.#running)
      if (work.context.deadline !== null && now > work.context.deadline) {
        work.stream.fail({ code: "TIMEOUT", message: "The request's deadline passed." });
        work.cancel("TIMEOUT", "The request's deadline passed.");
      }
    if (this.#reportedLoad !== this.#running.size) {
      this.#reportedLoad = this.#running.size;
      for (const link of this.#links.values()) link.reportLoad();
    }
    this.#stops[0] = this.platform.after(TICK_MS, () => this.#tick());
  }

  #watchHealth(instance: Instance): void {
    const { healthCheckPeriodS, healthCheckTimeoutS } = this.#options.spec;
    this.#stops.push(
      watchHealth(this.platform, {
        periodMs: healthCheckPeriodS * 1000,
        timeoutMs: healthCheckTimeoutS * 1000,
        check: () => instance.checkHealth(),
        changed: (error) => {
          if (error !== undefined) this.unhealthy(error);
          else if (this.#state === "unhealthy") {
            this.#state = "ready";
            this.#status();
          }
        },
      }),
    );
  }

  /** New config goes in while requests run, as recorded (C113); when user code refuses it the old one stays in force. */
  async #reconfigure(userConfig: unknown, version: number): Promise<void> {
    if (this.#instance === undefined || version === this.#configVersion) {
      this.#status();
      return;
    }
    try {
      if (userConfig != null) await this.#instance.reconfigure(this.#options.spec.app, userConfig);
      this.#configVersion = version;
      this.#status();
    } catch (error) {
      this.log("error", `reconfigure failed: ${stackOf(error)}`);
      this.#status({ reconfigureError: messageOf(error) });
    }
  }

  #status(more: Partial<Status> = {}): void {
    this.#tell({
      type: "status",
      state: this.#state,
      userConfigVersion: this.#configVersion,
      ongoing: this.#running.size,
      ...(this.#derivedLimit === undefined ? {} : { maxOngoingRequests: this.#derivedLimit }),
      ...more,
    });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.platform.after(ms, resolve));
  }
}

const messageOf = (error: unknown): string => (error instanceof SkeinError ? error.message : stackOf(error));
const stackOf = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? `${error.name}: ${error.message}`) : String(error);

/** Only the ingress deployment is called by gRPC. The codecs are loaded where they are needed. */
function grpcOf({ manifest, spec }: ReplicaOptions): Promise<GrpcMethods> | null {
  const { grpc, graph } = manifest;
  if (grpc === undefined || graph.ingress !== spec.deployment) return null;
  return import("./grpc-methods.ts").then(({ grpcMethods }) => grpcMethods(grpc));
}
