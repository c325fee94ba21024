/** A worker that is a small model of an agent: holds what it is assigned, starts and drains in virtual time, reports what it holds. */
import {
  parseFromCoordinator,
  type Assignment,
  type ReplicaReport,
  type ToCoordinator,
} from "../../protocol/control.ts";
import { compareVersions } from "../../protocol/ids.ts";
import type { Session } from "../../coordinator/sessions.ts";
import type { FakeMesh } from "./fake-mesh.ts";

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
    const session = mesh.sessions.open({
      send: (text) => mesh.post(`to ${this.id}`, () => this.receive(session, text)),
      close: () => (this.session = this.session === session ? null : this.session),
    });
    this.session = session;
    const { cpus, gpus, memory, kind, host } = this.options;
    mesh.sessions.receive(
      session,
      JSON.stringify({
        type: "join",
        protocol: { min: 1, max: 1 },
        build: "test",
        role: "worker",
        credential: "token",
        id: this.id,
        host,
        incarnation: this.incarnation,
        capabilities: {
          cpus,
          gpus,
          memory,
          resources: {},
          kind,
          providers: ["wasm"],
          adapter: null,
          platform: "test",
          name: this.id,
        },
      } satisfies ToCoordinator),
    );
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
        held.report =
          reconfigureError === undefined
            ? { ...held.report, userConfigVersion: spec.userConfigVersion }
            : { ...held.report, reconfigureError };
      }
    }
    for (const [id, spec] of wanted) {
      if (this.held.has(id)) continue;
      this.starts += 1;
      this.mesh.starts.push({ atMs: now, worker: this.id, replica: id });
      this.held.set(id, {
        spec,
        readyAtMs: now + this.options.startMs,
        stopAtMs: null,
        report: {
          replica: id,
          incarnation: spec.incarnation,
          state: "starting",
          pid: 1000 + this.mesh.starts.length,
          startedAtMs: now,
          userConfigVersion: spec.userConfigVersion,
          ongoing: 0,
        },
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
        held.report =
          startupError === undefined
            ? { ...held.report, state: "ready", userConfigVersion: held.spec.userConfigVersion }
            : { ...held.report, state: "failed", startup: true, error: startupError, pid: null };
        changed = true;
      }
    }
    if (changed || now - this.reportAtMs >= 1_000) this.report();
  }

  /** The replica's process ends by itself. */
  kill(replica: string): void {
    const held = this.held.get(replica);
    if (held !== undefined)
      held.report = { ...held.report, state: "failed", startup: false, error: "killed", pid: null };
    this.report();
  }

  report(): void {
    this.reportAtMs = this.mesh.nowMs;
    const ingress =
      this.ingress === null
        ? null
        : {
            ingress: this.ingress,
            state: "ready" as const,
            urls: [`ws://10.0.0.1:1/link`],
            http: { host: "127.0.0.1", port: 8000 },
            grpc: null,
            pid: 1,
          };
    this.send({ type: "report", held: this.version, replicas: [...this.held.values()].map((h) => h.report), ingress });
  }

  private send(message: ToCoordinator): void {
    const { session, mesh } = this;
    const text = JSON.stringify(message);
    if (session !== null)
      mesh.post(`of ${this.id}`, () => this.session === session && mesh.sessions.receive(session, text));
  }
}
