/**
 * An ingress put together: the mesh's state, both listeners, the control link, what is remembered on disk, logs and metrics.
 * Time and chance come from main.ts. Everything periodic happens in `tick`.
 */
import path from "node:path";
import { compareVersions } from "../protocol/ids.ts";
import type { IngressReport, IngressSpec } from "../protocol/control.ts";
import { BACKLOG_MAX, MIB } from "../protocol/limits.ts";
import type { IngressOptions } from "../protocol/local.ts";
import { keptCertificate } from "../protocol/node/certificate.ts";
import type { RoutingTable } from "../protocol/routes.ts";
import type { PublicKey } from "../protocol/ticket.ts";
import { AccessLog } from "./access-log.ts";
import { ControlLink, type ControlConnection, type ControlEvents } from "./control.ts";
import type { Finished } from "./http/context.ts";
import { isLoopback } from "./http/guard.ts";
import { listenHttp } from "./http/listener.ts";
import { listenLinks, type LinkListeners } from "./links/listeners.ts";
import { Sessions } from "./links/session.ts";
import { ListenerSlot } from "./listener-slot.ts";
import { LogFile } from "./log-file.ts";
import { Mesh } from "./mesh.ts";
import { IngressMetrics, type RequestMetrics } from "./metrics.ts";
import { TableFile, type Remembered } from "./table-file.ts";

export interface IngressEnvironment {
  /** ms, monotonic. */
  now(): number;
  /** ms since 1970. */
  wallTime(): number;
  random(): number;
  after(ms: number, callback: () => void): () => void;
  freshId(): string;
  /** Of this machine, as others reach it. */
  addresses(): readonly string[];
  connect(url: string, events: ControlEvents): ControlConnection;
  readonly build: string;
  readonly pid: number;
  /** Rises with every process. */
  readonly incarnation: number;
  onReport(report: IngressReport): void;
  log(message: string): void;
}

/** A listener whose port is taken is tried again after this, ms. */
const BIND_AGAIN_MS = 2_000;

export class Ingress {
  readonly mesh: Mesh;
  readonly #options: IngressOptions;
  readonly #environment: IngressEnvironment;
  readonly #file: TableFile;
  readonly #metrics: IngressMetrics;
  readonly #accessLog: AccessLog;
  readonly #sessions: Sessions;
  readonly #control: ControlLink;
  #spec: IngressSpec;
  #keys: readonly PublicKey[] = [];
  /** Coordinator's clock minus ours. */
  #clockOffset = 0;
  #links: LinkListeners | null = null;
  readonly #http = new ListenerSlot();
  readonly #grpc = new ListenerSlot();
  #bindAgainAt = 0;
  #binding: Promise<void> = Promise.resolve();
  #stopping = false;
  /** Readers cut off that were told of. */
  #cutsTold = 0;
  #saidOpen = "";
  readonly #meshTime = (): number => this.#environment.wallTime() + this.#clockOffset;

  constructor(options: IngressOptions, environment: IngressEnvironment) {
    const { now, random } = environment;
    this.#options = options;
    this.#environment = environment;
    this.#spec = options.spec;
    this.mesh = new Mesh({ host: options.host, now, random });
    this.mesh.onQueueEdge = () => this.#control.changed();
    this.#file = new TableFile(options.dataDir, options.spec.ingress);
    this.#metrics = new IngressMetrics(this.mesh);
    const logFile = new LogFile(path.join(options.dataDir, "logs", "ingress-access.log"));
    this.#accessLog = new AccessLog((lines) => logFile.write(lines));
    this.#sessions = new Sessions({
      mesh: this.mesh,
      ingress: options.spec.ingress,
      build: environment.build,
      now,
      after: environment.after,
      pool: (app, deployment) => this.mesh.pool(app, deployment),
      meshTime: this.#meshTime,
      keys: () => this.#keys,
    });
    this.#control = new ControlLink(
      {
        urls: options.coordinatorUrls,
        ingress: options.spec.ingress,
        host: options.host,
        build: environment.build,
        incarnation: environment.incarnation,
        connect: environment.connect,
        now,
        random,
        stats: () => this.mesh.stats(),
        onTable: (table) => this.#take(table),
        onWelcome: (keys, timeMs) => {
          this.#keys = keys;
          this.#clockOffset = timeMs - environment.wallTime();
        },
        log: environment.log,
      },
      options.spec.ticket,
    );
  }

  /** Opens the listeners for replicas (rejects when its port is taken), takes what is remembered, and begins to serve. */
  async start(): Promise<IngressReport> {
    const remembered = await this.#file.read(this.#spec.ingress);
    if (remembered !== null) this.#recall(remembered);
    this.#links = await this.#listenLinks(remembered);
    this.#control.tick();
    await this.#applySpec();
    this.#remember();
    return this.report();
  }

  report(): IngressReport {
    const slots = [this.#http, this.#grpc];
    const error = slots.find((slot) => slot.error !== null)?.error ?? null;
    const waiting =
      (this.#spec.http !== null && !this.#http.wanted) || slots.some((slot) => slot.wanted && slot.listener === null);
    return {
      ingress: this.#spec.ingress,
      state: error !== null ? "failed" : waiting ? "starting" : "ready",
      ...(error === null ? {} : { error }),
      urls: [...(this.#links?.urls ?? [])],
      http: this.#http.address,
      grpc: this.#grpc.address,
      pid: this.#environment.pid,
    };
  }

  /** The agent's newest wish. */
  async useSpec(spec: IngressSpec): Promise<void> {
    this.#spec = spec;
    this.#control.useCredential(spec.ticket);
    await this.#applySpec();
  }

  /** Call four times a second. */
  tick(): void {
    const now = this.#environment.now();
    this.mesh.tick();
    this.#sessions.tick(now);
    this.#control.tick();
    void this.#accessLog.flush();
    this.#tellCuts();
    if (this.report().state === "failed" && now >= this.#bindAgainAt) void this.#applySpec();
  }

  #tellCuts(): void {
    const { cuts } = this.mesh.backlog;
    if (cuts === this.#cutsTold) return;
    this.#environment.log(
      `${cuts - this.#cutsTold} clients that had stopped reading were cut off: ${BACKLOG_MAX / MIB} MiB were held for slow readers, which is the bound.`,
    );
    this.#cutsTold = cuts;
  }

  /** Stops accepting, lets what runs finish (who still has a connection hears why), says goodbye to replicas and coordinator. */
  async stop(drainMs: number): Promise<void> {
    this.#stopping = this.mesh.ending = true;
    await this.#binding;
    await Promise.all([this.#http.listener?.close(drainMs), this.#grpc.listener?.close(drainMs)]);
    await this.#links?.close();
    this.#control.stop();
    await this.#accessLog.flush();
    await this.#file.settled();
  }

  #listenLinks(remembered: Remembered | null): Promise<LinkListeners> {
    const { now, wallTime, addresses } = this.#environment;
    return listenLinks(
      this.#options.mesh,
      remembered?.ports ?? null,
      { sessions: this.#sessions, now, metrics: () => this.#metrics.text() },
      { addresses, certificate: () => keptCertificate(path.join(this.#options.dataDir, "ingress"), wallTime()) },
    );
  }

  // --- client listener ---

  /** One change after the other. */
  #applySpec(): Promise<void> {
    this.#bindAgainAt = this.#environment.now() + BIND_AGAIN_MS;
    this.#binding = this.#binding.then(() => this.#bind());
    return this.#binding;
  }

  async #bind(): Promise<void> {
    if (this.#stopping) return;
    const { http, grpc } = this.#spec;
    const before = JSON.stringify(this.report());
    const told = (metrics: RequestMetrics): { started(): void; finished(request: Finished): void } => ({
      started: () => metrics.started(),
      finished: (request) => {
        metrics.finished(request);
        this.#accessLog.add(request, new Date(this.#environment.wallTime()).toISOString());
      },
    });
    const { now, after, freshId, log } = this.#environment;
    const around = { mesh: this.mesh, now, after, freshId, meshTime: this.#meshTime };
    await this.#http.use(http, null, (options) => listenHttp(options, { ...around, ...told(this.#metrics.http) }));
    this.#sayWhatIsOpen();
    const wantsGrpc = http !== null && grpc !== null && grpc.grpc_servicer_functions.length > 0;
    const beside = http === null ? null : { ...http, port: this.#http.address?.port ?? http.port };
    await this.#grpc.use(wantsGrpc ? grpc : null, beside, async (options) => {
      const { listenGrpc } = await import("./grpc/listener.ts");
      return listenGrpc(options, http!, { ...around, log, ...told(this.#metrics.grpc()) });
    });
    this.#remember();
    if (JSON.stringify(this.report()) !== before) this.#environment.onReport(this.report());
  }

  /** Whenever it changes: which applications clients of other machines can call without a key. */
  #sayWhatIsOpen(): void {
    const { address } = this.#http;
    const apps = address === null || isLoopback(address.host) ? [] : (this.mesh.table?.apps ?? []);
    const open = apps.filter(
      (app) => app.apiKeys === undefined && (app.routePrefix !== null || app.grpcServices.length > 0),
    );
    const said =
      address === null || open.length === 0
        ? ""
        : `Clients of other machines can reach ${address.host}:${address.port}, and no API key is set for ${open.map((app) => app.name).join(", ")}.`;
    if (said !== "" && said !== this.#saidOpen) this.#environment.log(said);
    this.#saidOpen = said;
  }

  // --- table ---

  #take(table: RoutingTable): void {
    const known = this.mesh.table;
    const isNew = known === null || compareVersions(table.version, known.version) !== 0;
    if (!this.mesh.apply(table)) return;
    this.#keys = table.keys;
    const logging = table.loggingConfig;
    this.#accessLog.encoding = logging?.encoding ?? "TEXT";
    this.#sessions.enforce();
    this.#sayWhatIsOpen();
    if (isNew) this.#remember();
  }

  #recall(remembered: Remembered): void {
    this.#clockOffset = remembered.clockOffsetMs;
    this.#http.lastPort = remembered.httpPort;
    if (remembered.table !== null) this.#take(remembered.table);
  }

  #remember(): void {
    const { ingress } = this.#spec;
    if (this.#links === null) return;
    const state: Remembered = {
      schema: 1,
      ingress,
      ports: this.#links.ports,
      httpPort: this.#http.lastPort,
      clockOffsetMs: this.#clockOffset,
      table: this.mesh.table,
    };
    this.#file
      .write(state)
      .catch((cause: Error) =>
        this.#environment.log(
          `The routing table can't be kept on disk (${cause.message}): this ingress can't restart while the coordinator is away.`,
        ),
      );
  }
}
