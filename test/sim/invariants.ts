/**
 * What must hold after every single step, whatever has gone wrong: read off the processes themselves and off the wire.
 * Knows the promises (docs/ARCHITECTURE.md), not how they are kept.
 */
import type { State } from "../../coordinator/state.ts";
import { DEATHS_MAX, LOSSES_MAX } from "../../ingress/retry.ts";
import { KIND, decodeFrames } from "../../protocol/frame.ts";
import { decodeOpen, type OpenHead } from "../../protocol/heads.ts";
import { compareVersions, type Version } from "../../protocol/ids.ts";
import type { Execution } from "./application.ts";
import type { Clients, Request } from "./clients.ts";
import type { Faults } from "./faults.ts";
import { BACK_ONGOING } from "./coordinator-process.ts";
import type { Connection, End, Payload } from "./network.ts";
import type { Fault } from "./options.ts";
import type { SimProcess } from "./process.ts";
import type { ReplicaProcess } from "./replica-process.ts";
import type { Scene } from "./scene.ts";

/** Work for a client that is gone ends within this, ms. */
const GONE_MS = 1_000;
/** Half-open connections are noticed within this, ms. */
const NOTICED_MS = 5_600;
/** Faults that must not be felt by any request, nor end any replica. */
const QUIET: readonly Fault[] = ["coordinatorKill", "coordinatorFreeze", "cutControl"];
/** Faults that must not be felt by what may run twice. */
const REPAIRED: readonly Fault[] = [...QUIET, "replicaKill", "agentKill", "cutData", "operator"];
const RARE_MS = 4_000;
/** Those from which nobody dies: an ingress that stood still must not take its own absence for others' deaths, however often. */
const NOBODY_DIES: readonly Fault[] = [...QUIET, "ingressFreeze"];

export class Invariants {
  readonly #scene: Scene;
  readonly #clients: Clients;
  readonly #faults: Faults;
  readonly #quiet: boolean;
  readonly #planned: boolean;
  readonly #repaired: boolean;
  readonly #nobodyDies: boolean;
  readonly #twoCoordinators: boolean;
  readonly #held = new Map<SimProcess, Version>();
  readonly #states = new WeakMap<object, State>();
  readonly #stuck = new Set<Execution>();
  readonly #epochs = new Map<string, number>();
  #executions = 0;
  #judged = 0;
  #settledReplicas: readonly ReplicaProcess[] = [];

  constructor(scene: Scene, clients: Clients, faults: Faults) {
    this.#scene = scene;
    this.#clients = clients;
    this.#faults = faults;
    const { faults: kinds, loss, faultEveryMs } = scene.options;
    this.#quiet = loss === 0 && kinds.every((kind) => QUIET.includes(kind));
    this.#planned = loss === 0 && kinds.every((kind) => kind === "operator");
    this.#repaired = loss === 0 && kinds.every((kind) => REPAIRED.includes(kind)) && faultEveryMs >= RARE_MS;
    this.#twoCoordinators = kinds.includes("twoCoordinators");
    this.#nobodyDies = loss === 0 && kinds.every((kind) => NOBODY_DIES.includes(kind));
    scene.network.observe = (connection, from, payload) => this.#sent(connection, from, payload);
  }

  /** From here on nothing that is up may go without a reason. */
  settle(): void {
    this.#scene.settled = true;
    this.#settledReplicas = [...this.#scene.replicas];
  }

  check(): void {
    this.#newExecutions();
    this.#ended();
    this.#replicas();
    this.#goneClients();
    this.#queues();
    this.#halfOpen();
    this.#coordinators();
  }

  /** When no request is open any more: nothing is left of any. */
  idle(): void {
    const violated = (invariant: string, detail: string): void => this.#scene.violated(invariant, detail);
    for (const execution of this.#scene.ledger.running)
      violated(
        "nothing is left when idle",
        `execution ${execution.number} of ${execution.request} (${this.#clients.all[Number(execution.request.slice(1))]?.plan.kind}, ${execution.calledOffAt === null ? "not called off" : "called off"}) still runs on ${execution.process.name}`,
      );
    for (const { id, mesh, links } of this.#scene.ingresses.values()) {
      for (const pool of mesh.pools) {
        if (pool.ongoing !== 0 || pool.queued !== 0)
          violated(
            "nothing is left when idle",
            `${id}: ${pool.deployment} has ${pool.ongoing} ongoing, ${pool.queued} queued`,
          );
        for (const peer of pool.peers)
          if (peer.inFlight !== 0)
            violated("nothing is left when idle", `${id}: ${peer.replica} has ${peer.inFlight} in flight`);
      }
      for (const link of links) {
        if (link.state !== "ready") continue;
        if (link.held !== 0) violated("credit is whole when idle", `${id}: a link holds ${link.held} bytes`);
        if (link.streams !== 0) violated("nothing is left when idle", `${id}: a link has ${link.streams} streams`);
      }
    }
    for (const { replica, options } of this.#scene.replicas)
      if (replica.ongoing !== 0)
        violated("nothing is left when idle", `${options.spec.replica} has ${replica.ongoing} requests in hand`);
  }

  #newExecutions(): void {
    const { executions, byRequest } = this.#scene.ledger;
    for (; this.#executions < executions.length; this.#executions += 1) {
      const execution = executions[this.#executions]!;
      const all = byRequest.get(execution.request)!;
      const same = all.filter((other) => other.deployment === execution.deployment).length;
      const request = this.#clients.all[Number(execution.request.slice(1))];
      if (request === undefined) this.#scene.violated("only requests are run", execution.request);
      else if (execution.deployment === "Back") {
        const fronts = all.filter((other) => other.deployment === "Front").length;
        if (same > fronts)
          this.#scene.violated(
            "nothing unsafe is run twice",
            `the call of ${execution.request} ran ${same} times for ${fronts} callers`,
          );
      } else if (same > (request.repeatable ? this.#runsMax(request) : 1))
        this.#scene.violated(
          "nothing unsafe is run twice",
          `${execution.request} (${request.plan.kind}) ran ${same} times`,
        );
      this.#concurrency(execution);
    }
  }

  /** What its ingress lost while it stood still are no deaths. */
  #runsMax({ ingress, beganAt }: Request): number {
    return ingress.process.thawedAt > beganAt ? LOSSES_MAX : DEATHS_MAX;
  }

  #concurrency(execution: Execution): void {
    let running = 0;
    for (const other of this.#scene.ledger.running)
      if (other.process === execution.process && other.calledOffAt === null) running += 1;
    const limit = execution.deployment === "Front" ? this.#scene.options.maxOngoing : BACK_ONGOING;
    if (running > limit)
      this.#scene.violated(
        "a replica never runs more than max_ongoing_requests",
        `${execution.process.name} runs ${running} of ${limit}`,
      );
  }

  /** Requests that have just ended: were they allowed to end so? */
  #ended(): void {
    const { all } = this.#clients;
    while (this.#judged < all.length && all[this.#judged]!.outcome !== null) this.#judge(all[this.#judged++]!);
  }

  #judge(request: Request): void {
    const { outcome, plan } = request;
    if (outcome?.how !== "failed" || outcome.status === 408) return;
    const about = `${plan.id} (${plan.kind}): ${outcome.status} ${outcome.message}`;
    if (this.#quiet) this.#scene.violated("the coordinator's absence is not felt", about);
    if (this.#planned) this.#scene.violated("a roll-out fails no request", about);
    const simple = plan.kind === "get" || plan.kind === "keyed";
    const lost = this.#scene.ledger.byRequest.get(plan.id)?.length ?? 0;
    if (simple && (this.#nobodyDies || (this.#repaired && lost < DEATHS_MAX)))
      this.#scene.violated("what may run twice does not fail", about);
  }

  #replicas(): void {
    const ids = new Set<string>();
    for (const { options, process } of this.#scene.replicas) {
      const { replica } = options.spec;
      if (ids.has(replica)) this.#scene.violated("a replica lives once", `${replica} (${process.name}) runs twice`);
      ids.add(replica);
    }
    for (const { plan, children } of this.#scene.workers) {
      let used = 0;
      for (const { options, process } of this.#scene.replicas) if (children.has(process)) used += options.spec.cpus;
      if (used > plan.cpus)
        this.#scene.violated("no worker is given more than it has", `${plan.id} runs ${used} of ${plan.cpus} CPUs`);
    }
    if (!this.#scene.settled || !this.#quiet) return;
    const gone = this.#settledReplicas.find((replica) => !replica.process.alive || replica.stopping);
    if (gone !== undefined) {
      this.#scene.violated("replicas outlive the coordinator", `${gone.process.name} has ended or was told to stop`);
      this.#settledReplicas = this.#settledReplicas.filter((replica) => replica !== gone);
    }
    if (this.#scene.replicas.size > this.#settledReplicas.length)
      this.#scene.violated(
        "replicas outlive the coordinator",
        `${[...this.#scene.replicas].at(-1)!.process.name} was started without need`,
      );
  }

  #goneClients(): void {
    const { clock, ledger } = this.#scene;
    if (this.#faults.disturbed) return;
    for (const execution of ledger.running) {
      if (execution.calledOffAt !== null) {
        // The simulation's handlers listen to their signal: one that goes on waits for something that will never come.
        if (
          clock.now - Math.max(execution.calledOffAt, execution.process.thawedAt) > GONE_MS &&
          !this.#stuck.has(execution)
        ) {
          this.#stuck.add(execution);
          this.#scene.violated(
            "what is called off ends",
            `execution ${execution.number} of ${execution.request} waits for ever on ${execution.process.name}`,
          );
        }
        continue;
      }
      const request = this.#clients.all[Number(execution.request.slice(1))];
      if (request === undefined || request.outcome === null) continue;
      const since = Math.max(
        request.endedAt,
        this.#faults.disturbedAt,
        execution.startedAt,
        execution.process.thawedAt,
      );
      if (clock.now - since > GONE_MS) {
        this.#scene.violated(
          "no work is done for a client that is gone",
          `execution ${execution.number} of ${execution.request} (${request.plan.kind}, ${request.outcome.how}) runs on ${execution.process.name}`,
        );
        execution.calledOffAt = clock.now;
      }
    }
  }

  #queues(): void {
    for (const { mesh, process, id } of this.#scene.ingresses.values()) {
      if (process.frozen || mesh.table === null) continue;
      for (const pool of mesh.pools) {
        if (pool.queued === 0) continue;
        const capacity = mesh.table.deployments.find((d) => d.name === pool.deployment)?.maxOngoingRequests ?? 0;
        const free = pool.peers.find((peer) => peer.available(capacity));
        if (free !== undefined)
          this.#scene.violated(
            "nobody waits beside a free replica",
            `${id}: ${pool.queued} wait for ${pool.deployment}, ${free.replica} is free`,
          );
      }
    }
  }

  #halfOpen(): void {
    const { clock, network } = this.#scene;
    for (const connection of network.halfOpenOnes) {
      if (clock.now - connection.halfOpenAt! < NOTICED_MS) continue;
      const deaf = connection.ends.find(
        (end) =>
          !end.closed && end.process.alive && !end.process.frozen && clock.now - end.process.thawedAt > NOTICED_MS,
      );
      if (deaf === undefined) continue;
      network.halfOpenOnes.delete(connection);
      this.#scene.violated(
        "half-open connections are noticed",
        `${deaf.process.name} still holds ${connection.kind} connection ${connection.number}`,
      );
    }
  }

  #coordinators(): void {
    for (const coordinator of this.#scene.coordinators) {
      const { state } = coordinator.loop;
      const before = this.#states.get(coordinator);
      if (state === before) continue;
      this.#states.set(coordinator, state);
      for (const worker of Object.values(state.workers)) {
        let free = worker.capabilities.cpus;
        for (const replica of Object.values(state.replicas))
          if (replica.worker === worker.id) free -= replica.reserved.cpus;
        // What another coordinator had the worker start comes on top of what this one has planned; the worker lets both not run at once.
        if (free < -1e-6 && !this.#twoCoordinators)
          this.#scene.violated(
            "no worker is given more than it has",
            `by the coordinator's books ${worker.id} has ${free} CPUs left`,
          );
        const known = before?.workers[worker.id];
        if (known !== undefined && worker.incarnation < known.incarnation)
          this.#scene.violated(
            "incarnations never go back",
            `${worker.id} went from ${known.incarnation} to ${worker.incarnation}`,
          );
      }
    }
  }

  // --- on the wire ---

  #sent(connection: Connection, from: End, payload: Payload | null): void {
    if (typeof payload === "string") this.#controlSent(from, payload);
    else if (payload !== null) this.#framesSent(connection, from, payload);
  }

  #controlSent(from: End, text: string): void {
    if (text.startsWith('{"type":"refused"')) {
      if (!text.includes("UNAUTHENTICATED") && !text.includes("CONFLICT"))
        this.#scene.violated("control messages are understood", text.slice(0, 200));
      return;
    }
    const match = /^\{"type":"(?:report|stats)","held":\{"term":(\d+),"revision":(\d+)\}/.exec(text);
    if (match === null) return;
    const version = { term: Number(match[1]), revision: Number(match[2]) };
    const before = this.#held.get(from.process);
    if (before !== undefined && compareVersions(version, before) < 0)
      this.#scene.violated(
        "versions never go back",
        `${from.process.name} went from ${before.term}.${before.revision} to ${version.term}.${version.revision}`,
      );
    this.#held.set(from.process, version);
  }

  #framesSent(connection: Connection, from: End, message: Uint8Array): void {
    const ingress = [...this.#scene.ingresses.values()].find((one) => one.process === from.process);
    if (ingress === undefined) return;
    const to = connection.peerOf(from)!.process;
    decodeFrames(message, (frame) => {
      if (frame.kind !== KIND.open) return;
      const replica = [...this.#scene.replicas].find((one) => one.process === to)?.options.spec.replica;
      if (replica === undefined) return;
      const routed = ingress.mesh.table?.deployments.flatMap((d) => d.replicas).find((r) => r.replica === replica);
      this.#epochRises(ingress.process, decodeOpen(frame.payload));
      // What was opened just before the table came leaves at the end of the same turn.
      if (routed?.state !== "ready" && ingress.tableAt < this.#scene.clock.now)
        this.#scene.violated(
          "nothing is sent to a replica that drains",
          `${ingress.id} opens a stream on ${replica}, which is ${routed?.state ?? "not in its table"}`,
        );
    });
  }

  /** Each attempt of a request has a number of its own. */
  #epochRises(ingress: SimProcess, head: OpenHead): void {
    const key = `${ingress.name} ${head.requestId} ${head.deployment}`;
    const before = this.#epochs.get(key) ?? -1;
    if (head.epoch <= before && head.kind === "http")
      this.#scene.violated(
        "every attempt has an epoch of its own",
        `${head.requestId} is opened with ${head.epoch} after ${before}`,
      );
    this.#epochs.set(key, head.epoch);
  }
}
