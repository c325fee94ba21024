/**
 * A mesh without sockets: the shipping loop and sessions on a virtual clock, with workers that are small models of agents.
 * Messages may be lost or late (in order, as on a connection); workers may crash. Every message passes the real parsers.
 */
import { generateKeyPairSync } from "node:crypto";
import type { Manifest } from "../../protocol/artefact.ts";
import { parseDeployConfig } from "../../protocol/config.ts";
import type { AppName, HostId } from "../../protocol/ids.ts";
import type { RoutingTable } from "../../protocol/routes.ts";
import type { InstanceDetails } from "../../protocol/status.ts";
import { Loop } from "../../coordinator/loop.ts";
import { deploymentsAtStart } from "../../coordinator/operators.ts";
import { signerOf, type Signer } from "../../coordinator/keys.ts";
import { Sessions } from "../../coordinator/sessions.ts";
import { emptyDesired, initialState, type DesiredState } from "../../coordinator/state.ts";
import { statusReport } from "../../coordinator/status-report.ts";
import { below, chance, seededRandom, type Random } from "../support/random.ts";
import { FakeWorker, type Behaviour, type WorkerOptions } from "./fake-worker.ts";

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
    this.sessions = new Sessions(
      () => this.loop,
      {
        kid: signer.kid,
        keys: signer.keys,
        sign: (claims) => signer.sign(claims),
        ticket: (text) => signer.verify(text, this.nowMs),
        isGood: (token) => token === "token",
        redeem: (token) => token === "token",
        approval: () => null,
      },
      () => this.nowMs,
    );
    const { sessions } = this;
    const state = initialState({
      term: this.term,
      random: below(this.random, 2 ** 31),
      headHost: "host-a" as HostId,
      desired: this.desired,
      nowMs: this.nowMs,
      recoveryMs: 10_000,
    });
    this.loop = new Loop(
      { ...state, deployments: deploymentsAtStart(this.desired) },
      {
        now: () => this.nowMs,
        send: (peer, message) => sessions.send(peer, message),
        sign: (claims) => signer.sign(claims),
        kid: signer.kid,
        keys: signer.keys,
        save: (desired) => {
          if (this.saveFails !== null) return Promise.reject(this.saveFails);
          this.desired = JSON.parse(JSON.stringify(desired)) as DesiredState;
          return Promise.resolve();
        },
        relays: (ingress) => [`ws://mesh/relay/${ingress}`],
        build: (app, generation) => void this.builds.push({ app, generation }),
        problem: (message, cause) => void this.problems.push(`${message} ${String(cause ?? "")}`),
      },
    );
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
    const atMs = Math.max(
      this.nowMs + 1 + (this.delayMs === 0 ? 0 : below(this.random, this.delayMs)),
      this.lastOn.get(channel) ?? 0,
    );
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
  async deploy(
    apps: { name?: string; manifest?: Manifest; [key: string]: unknown }[],
    top: Record<string, unknown> = {},
    source: "declarative" | "imperative" = "declarative",
  ): Promise<void> {
    const parsed = parseDeployConfig({
      ...top,
      applications: apps.map(({ manifest: _m, ...app }) => ({ import_path: "m:app", ...app })),
    });
    if (parsed.issues !== undefined) throw new Error(JSON.stringify(parsed.issues));
    const { config } = parsed;
    await this.loop.dispatch({
      type: "deployed",
      source,
      warnings: [],
      nowMs: this.nowMs,
      options: {
        proxyLocation: config.proxy_location,
        http: config.http_options,
        grpc: config.grpc_options,
        loggingConfig: null,
        targetCapacity: config.target_capacity ?? null,
      },
      apps: config.applications.map((app, i) => {
        const given = apps[i]?.manifest;
        return {
          config: app,
          submitted: {},
          built: given === undefined ? null : { artefact: given.graph.hash, manifest: given },
        };
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
