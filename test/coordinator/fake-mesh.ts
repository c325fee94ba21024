/**
 * A mesh without sockets: the shipping loop and sessions on a virtual clock, with workers that are small models of agents.
 * Messages may be lost or late (in order, as on a connection); workers may crash. Every message passes the real parsers.
 */
import { generateKeyPairSync } from "node:crypto";
import type { Manifest } from "../../protocol/artefact.ts";
import { parseDeployConfig } from "../../protocol/config.ts";
import { parseFromCoordinator, type Assignment, type ReplicaReport, type ToCoordinator } from "../../protocol/control.ts";
import { compareVersions, type AppName, type HostId } from "../../protocol/ids.ts";
import type { RoutingTable } from "../../protocol/routes.ts";
import type { InstanceDetails } from "../../protocol/status.ts";
import { Loop } from "../../coordinator/loop.ts";
import { deploymentsAtStart } from "../../coordinator/operators.ts";
import { signerOf, type Signer } from "../../coordinator/keys.ts";
import { Sessions, type Session } from "../../coordinator/sessions.ts";
import { emptyDesired, initialState, type DesiredState } from "../../coordinator/state.ts";
import { statusReport } from "../../coordinator/status-report.ts";
import { below, chance, seededRandom, type Random } from "../support/random.ts";

const HEX = (n: number): string => n.toString(16).padStart(64, "0");

/** A manifest as the builder makes it; `version` stands for the code. */
export function manifest(options: Record<string, Record<string, unknown>> = { D: {} }, version = 1, callees: Record<string, string[]> = {}): Manifest {
  const names = Object.keys(options);
  return {
    schema: 1, importPath: "m:app", args: {}, export: "app",
    bundles: { node: HEX(version), browser: HEX(version) },
    assets: {},
    graph: {
      hash: HEX(version),
      ingress: names.at(-1) ?? "D",
      deployments: names.map((name) => ({ name, options: options[name] ?? {}, callees: callees[name] ?? [], reconfigurable: true, usesEngine: false })),
    },
  };
}

export interface WorkerOptions {
  cpus?: number;
  gpus?: number;
  memory?: number;
  kind?: "node" | "browser";
  host?: string;
  startMs?: number;
}

/** How user code behaves: by deployment name. */
export type Behaviour = (spec: Assignment["replicas"][number]) => { startupError?: string; reconfigureError?: string };

interface Held {
  spec: Assignment["replicas"][number];
  readyAtMs: number;
  stopAtMs: number | null;
  report: ReplicaReport;
}

export class FakeWorker {
  readonly id: string;
  readonly mesh: FakeMesh;
  readonly options: Required<WorkerOptions>;
  incarnation = 0;
  held = new Map<string, Held>();
  version: Assignment["version"] | null = null;
  assignment: Assignment | null = null;
  session: Session | null = null;
  ingress: string | null = null;
  reportAtMs = 0;
  /** Started replicas in all, for counting constructor runs. */
  starts = 0;

  constructor(mesh: FakeMesh, id: string, options: WorkerOptions) {
    this.mesh = mesh;
    this.id = id;
    this.options = { cpus: 8, gpus: 0, memory: 1e9, kind: "node", host: `host-${id}`, startMs: 50, ...options };
  }

  join(): void {
    const { mesh } = this;
    const session = mesh.sessions.open({ send: (text) => mesh.post(`to ${this.id}`, () => this.receive(session, text)), close: () => (this.session = this.session === session ? null : this.session) });
    this.session = session;
    const { cpus, gpus, memory, kind, host } = this.options;
    mesh.sessions.receive(session, JSON.stringify({
      type: "join", protocol: { min: 1, max: 1 }, build: "test", role: "worker", credential: "token", id: this.id, host, incarnation: this.incarnation,
      capabilities: { cpus, gpus, memory, resources: {}, kind, providers: ["wasm"], adapter: null, platform: "test", name: this.id },
    } satisfies ToCoordinator));
    this.report();
  }

  /** The link breaks; replicas run on. */
  disconnect(): void {
    const { session } = this;
    this.session = null;
    if (session !== null) this.mesh.sessions.closed(session);
  }

  /** The process dies, and its replicas with it. */
  crash(): void {
    this.disconnect();
    this.held.clear();
    this.version = null;
    this.assignment = null;
    this.ingress = null;
    this.incarnation += 1;
  }

  receive(session: Session, text: string): void {
    if (session !== this.session) return;
    const message = parseFromCoordinator(text);
    if (message.type === "ping") this.send({ type: "pong" });
    if (message.type !== "assignment") return;
    if (this.version !== null && compareVersions(message.version, this.version) < 0) return;
    this.version = message.version;
    this.assignment = message;
    this.ingress = message.ingress?.ingress ?? null;
    this.obey();
    this.report();
  }

  private obey(): void {
    const now = this.mesh.nowMs;
    const wanted = new Map((this.assignment?.replicas ?? []).map((r) => [r.replica, r]));
    for (const [id, held] of this.held) {
      const spec = wanted.get(id);
      if (spec === undefined && held.report.state === "failed") this.held.delete(id);
      else if (spec === undefined && held.stopAtMs === null) {
        held.stopAtMs = now + 20;
        held.report = { ...held.report, state: "stopping" };
      } else if (spec !== undefined && spec.userConfigVersion !== held.spec.userConfigVersion) {
        const { reconfigureError } = this.mesh.behaviour(spec);
        held.spec = spec;
        held.report = reconfigureError === undefined ? { ...held.report, userConfigVersion: spec.userConfigVersion } : { ...held.report, reconfigureError };
      }
    }
    for (const [id, spec] of wanted) {
      if (this.held.has(id)) continue;
      this.starts += 1;
      this.mesh.starts.push({ atMs: now, worker: this.id, replica: id });
      this.held.set(id, {
        spec, readyAtMs: now + this.options.startMs, stopAtMs: null,
        report: { replica: id, incarnation: spec.incarnation, state: "starting", pid: 1000 + this.mesh.starts.length, startedAtMs: now, userConfigVersion: spec.userConfigVersion, ongoing: 0 },
      });
    }
  }

  tick(): void {
    const now = this.mesh.nowMs;
    let changed = false;
    for (const [id, held] of this.held) {
      if (held.stopAtMs !== null && now >= held.stopAtMs) {
        this.held.delete(id);
        changed = true;
      } else if (held.report.state === "starting" && now >= held.readyAtMs) {
        const { startupError } = this.mesh.behaviour(held.spec);
        held.report = startupError === undefined ? { ...held.report, state: "ready", userConfigVersion: held.spec.userConfigVersion } : { ...held.report, state: "failed", startup: true, error: startupError, pid: null };
        changed = true;
      }
    }
    if (changed || now - this.reportAtMs >= 1_000) this.report();
  }

  /** The replica's process ends by itself. */
  kill(replica: string): void {
    const held = this.held.get(replica);
    if (held !== undefined) held.report = { ...held.report, state: "failed", startup: false, error: "killed", pid: null };
    this.report();
  }

  report(): void {
    this.reportAtMs = this.mesh.nowMs;
    const ingress = this.ingress === null ? null : { ingress: this.ingress, state: "ready" as const, urls: [`ws://10.0.0.1:1/link`], http: { host: "127.0.0.1", port: 8000 }, grpc: null, pid: 1 };
    this.send({ type: "report", held: this.version, replicas: [...this.held.values()].map((h) => h.report), ingress });
  }

  private send(message: ToCoordinator): void {
    const { session, mesh } = this;
    const text = JSON.stringify(message);
    if (session !== null) mesh.post(`of ${this.id}`, () => this.session === session && mesh.sessions.receive(session, text));
  }
}

export class FakeMesh {
  nowMs = 1_000_000;
  readonly random: Random;
  readonly signer: Signer;
  readonly workers = new Map<string, FakeWorker>();
  readonly starts: { atMs: number; worker: string; replica: string }[] = [];
  /** Shares of messages lost, and how late the others come at most, ms. */
  loss = 0;
  delayMs = 0;
  behaviour: Behaviour = () => ({});
  sessions!: Sessions;
  loop!: Loop;
  desired: DesiredState = emptyDesired;
  term = 0;
  problems: string[] = [];
  builds: { app: string; generation: number }[] = [];
  saveFails: Error | null = null;
  private readonly queue: { atMs: number; order: number; run: () => void }[] = [];
  private order = 0;
  private readonly lastOn = new Map<string, number>();
  readonly tables: RoutingTable[] = [];

  constructor(seed = 1) {
    this.random = seededRandom(seed);
    this.signer = signerOf(generateKeyPairSync("ed25519").privateKey);
    this.startCoordinator();
  }

  /** Also a restart: only what was saved survives. */
  startCoordinator(): void {
    for (const worker of this.workers.values()) worker.session = null;
    this.term += 1;
    const { signer } = this;
    this.sessions = new Sessions(() => this.loop, {
      kid: signer.kid, keys: signer.keys,
      sign: (claims) => signer.sign(claims),
      ticket: (text) => signer.verify(text, this.nowMs),
      redeem: (token) => token === "token",
      approval: () => null,
    }, () => this.nowMs);
    const { sessions } = this;
    const state = initialState({ term: this.term, random: below(this.random, 2 ** 31), headHost: "host-a" as HostId, desired: this.desired, nowMs: this.nowMs, recoveryMs: 10_000 });
    this.loop = new Loop({ ...state, deployments: deploymentsAtStart(this.desired) }, {
      now: () => this.nowMs,
      send: (peer, message) => sessions.send(peer, message),
      sign: (claims) => signer.sign(claims),
      kid: signer.kid, keys: signer.keys,
      save: (desired) => {
        if (this.saveFails !== null) return Promise.reject(this.saveFails);
        this.desired = JSON.parse(JSON.stringify(desired)) as DesiredState;
        return Promise.resolve();
      },
      relays: (ingress) => [`ws://mesh/relay/${ingress}`],
      build: (app, generation) => void this.builds.push({ app, generation }),
      problem: (message, cause) => void this.problems.push(`${message} ${String(cause ?? "")}`),
    });
  }

  worker(id: string, options: WorkerOptions = {}): FakeWorker {
    const worker = new FakeWorker(this, id, options);
    this.workers.set(id, worker);
    worker.join();
    return worker;
  }

  /** `channel`: one direction of one worker; messages of one channel keep their order, as on a connection. */
  post(channel: string, run: () => void): void {
    if (this.loss > 0 && chance(this.random, this.loss)) return;
    const atMs = Math.max(this.nowMs + 1 + (this.delayMs === 0 ? 0 : below(this.random, this.delayMs)), this.lastOn.get(channel) ?? 0);
    this.lastOn.set(channel, atMs);
    this.queue.push({ atMs, order: (this.order += 1), run });
  }

  /** Lets time pass in steps of 10 ms; `each` looks at every step. */
  async run(ms: number, each: () => void = () => {}): Promise<void> {
    const end = this.nowMs + ms;
    while (this.nowMs < end) {
      this.nowMs += 10;
      const due = this.queue.filter((m) => m.atMs <= this.nowMs).sort((a, b) => a.atMs - b.atMs || a.order - b.order);
      for (const message of due) this.queue.splice(this.queue.indexOf(message), 1);
      for (const message of due) {
        message.run();
        await settle();
      }
      for (const worker of this.workers.values()) worker.tick();
      if (this.nowMs % 250 === 0) {
        this.sessions.tick();
        await this.loop.tick().catch(() => {});
      }
      await settle();
      each();
    }
  }

  /** A declarative deploy whose applications are built already. */
  async deploy(apps: { name?: string; manifest?: Manifest; [key: string]: unknown }[], top: Record<string, unknown> = {}, source: "declarative" | "imperative" = "declarative"): Promise<void> {
    const parsed = parseDeployConfig({ ...top, applications: apps.map(({ manifest: _m, ...app }) => ({ import_path: "m:app", ...app })) });
    if (parsed.issues !== undefined) throw new Error(JSON.stringify(parsed.issues));
    const { config } = parsed;
    await this.loop.dispatch({
      type: "deployed", source, warnings: [], nowMs: this.nowMs,
      options: { proxyLocation: config.proxy_location, http: config.http_options, grpc: config.grpc_options, loggingConfig: null, targetCapacity: config.target_capacity ?? null },
      apps: config.applications.map((app, i) => {
        const given = apps[i]?.manifest;
        return { config: app, submitted: {}, built: given === undefined ? null : { artefact: given.graph.hash, manifest: given } };
      }),
    });
  }

  delete(...apps: string[]): Promise<void> {
    return this.loop.dispatch({ type: "deleteRequested", apps: apps as AppName[] });
  }

  get status(): InstanceDetails {
    return statusReport(this.loop.state, { pid: 1, startedAtMs: 0, revision: this.loop.revision });
  }

  /** `STATE` of each replica of a deployment, sorted. */
  states(app: string, deployment = "D"): string[] {
    return (this.status.applications[app]?.deployments[deployment]?.replicas ?? []).map((r) => r.state).sort();
  }
}

/** Promises of the loop (a save, a turn) come to rest. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 12; i += 1) await Promise.resolve();
}
