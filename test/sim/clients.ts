/**
 * Clients: each request has a kind, a deadline and perhaps a moment at which its client leaves or stops reading. What comes back is checked
 * byte by byte against the oracle, as it comes.
 */
import { Forward, type Reply } from "../../ingress/forward.ts";
import { repeatable } from "../../ingress/retry.ts";
import type { EndHead, FailHead, OpenHttp, ResponseHead } from "../../protocol/heads.ts";
import { OUTSIDE } from "../../protocol/errors.ts";
import type { ChunkType } from "../../protocol/stream.ts";
import { below, chance, pickOne, type Random } from "../support/random.ts";
import { executionOf, oracle, uploadOracle } from "./application.ts";
import type { IngressProcess } from "./ingress-process.ts";
import type { Scene } from "./scene.ts";

export type Kind = "get" | "post" | "keyed" | "stream" | "fat" | "upload" | "call";
const KINDS: readonly Kind[] = ["get", "get", "post", "keyed", "stream", "stream", "fat", "upload", "call"];
const UPLOAD_PIECE = 48 * 1024;
/** What a client waits beyond its deadline before it calls the ingress broken, ms. */
const PATIENCE_MS = 1_000;

export interface Plan {
  readonly id: string;
  readonly kind: Kind;
  readonly count: number;
  readonly delayMs: number;
  readonly size: number;
  readonly keyed: boolean;
  readonly deadlineMs: number;
  /** The client leaves after this, ms; null: it stays. */
  readonly leavesMs: number | null;
  /** How long it takes to read a chunk, or (eight times as long) to have the next piece of a body, ms. */
  readonly readMs: number;
}

export function planOf(random: Random, number: number): Plan {
  const kind = pickOne(random, KINDS);
  const fat = kind === "fat";
  const streams = kind === "stream" || kind === "call";
  return {
    id: `r${number}`,
    kind,
    count: fat
      ? 30 + below(random, 20)
      : streams
        ? 1 + below(random, 20)
        : kind === "upload"
          ? 1 + below(random, 16)
          : 1,
    delayMs: fat
      ? 0
      : streams
        ? pickOne(random, [0, 10, 100])
        : kind === "upload"
          ? pickOne(random, [0, 0, 20])
          : pickOne(random, [0, 20, 300]),
    size: fat ? 16 * 1024 + below(random, 16 * 1024) : kind === "call" && chance(random, 0.3) ? 24 * 1024 : 0,
    keyed: kind === "keyed" || (kind === "upload" && chance(random, 0.5)),
    deadlineMs: 1_000 + below(random, 6_000),
    leavesMs: chance(random, 0.12) ? random() * 1_500 : null,
    readMs: chance(random, 0.15) ? 20 + random() * 60 : 0,
  };
}

export type Outcome =
  | { readonly how: "answered" }
  | { readonly how: "failed"; readonly status: number; readonly message: string }
  | { readonly how: "left" }
  | { readonly how: "broken" };

export class Request implements Reply {
  readonly plan: Plan;
  readonly ingress: IngressProcess;
  readonly beganAt: number;
  outcome: Outcome | null = null;
  endedAt = Number.POSITIVE_INFINITY;
  /** Number of the execution whose chunks are coming. */
  execution: number | null = null;
  forward: Forward | null = null;
  readonly #scene: Scene;
  readonly #ended: (request: Request) => void;
  #stopTimer: () => void = () => {};
  #head: ResponseHead | null = null;
  #chunks = 0;
  #text = "";
  #written = 0;

  constructor(scene: Scene, ingress: IngressProcess, plan: Plan, ended: (request: Request) => void) {
    this.#scene = scene;
    this.ingress = ingress;
    this.plan = plan;
    this.#ended = ended;
    this.beganAt = scene.clock.now;
    ingress.requests.add(this);
    const { clock } = scene;
    clock.after(0.2, `${plan.id} asks`, () => ingress.process.run("request", () => this.#open()));
    clock.after(plan.deadlineMs + PATIENCE_MS, `${plan.id} waits no more`, () => this.#giveUp());
    if (plan.leavesMs !== null) clock.after(plan.leavesMs, `${plan.id} leaves`, () => this.leave());
  }

  get method(): string {
    return ["post", "keyed", "upload"].includes(this.plan.kind) ? "POST" : "GET";
  }
  get repeatable(): boolean {
    return repeatable(this.method, this.plan.keyed);
  }

  /** The client's connection closes; the ingress hears of it when it runs. */
  leave(): void {
    if (this.outcome !== null) return;
    this.#finish({ how: "left" });
    this.ingress.process.run("client left", () => this.forward?.cancel("The client left."));
  }

  /** The ingress is gone. */
  broken(): void {
    this.#finish({ how: "broken" });
  }

  #giveUp(): void {
    if (this.outcome !== null) return;
    const { process } = this.ingress;
    const stood = process.frozen || process.thawedAt >= this.beganAt;
    if (!stood)
      this.#scene.violated(
        "requests end by their deadline",
        `${this.plan.id} (${this.plan.kind}) has no answer ${PATIENCE_MS} ms after its deadline`,
      );
    this.leave();
  }

  #open(): void {
    if (this.outcome !== null) return;
    const { mesh, process } = this.ingress;
    const { plan } = this;
    const match = mesh.routes?.match(
      `/?kind=${plan.kind === "fat" ? "stream" : plan.kind}&count=${plan.count}&delay=${plan.delayMs}&size=${plan.size}`,
    );
    const pool = match === undefined ? undefined : mesh.pool(match.route.app, match.route.deployment);
    if (match === undefined || pool === undefined || !this.ingress.serving)
      return this.#finish({ how: "failed", status: 404, message: "no route" });
    const now = this.#scene.clock.now;
    const head: OpenHttp = {
      kind: "http",
      app: match.route.app,
      deployment: match.route.deployment,
      requestId: plan.id,
      deadlineMs: null,
      epoch: 0,
      hops: 1,
      model: "",
      method: this.method,
      path: match.path,
      mount: match.mount,
      scheme: "http",
      headers: ["host", "sim"],
      remote: "127.0.0.1",
      upgrade: false,
    };
    const hasBody = plan.kind === "upload";
    this.forward = new Forward(
      pool,
      { head, repeatable: this.repeatable, deadline: now + plan.deadlineMs, ended: !hasBody },
      this,
    );
    this.#stopTimer = process.after(plan.deadlineMs, `${plan.id} is due`, () => this.forward!.expire());
    this.forward.start();
    if (hasBody) this.#upload();
  }

  #upload(): void {
    while (this.outcome === null && this.#written < this.plan.count) {
      this.#written += 1;
      const more = this.forward!.write("bytes", new Uint8Array(UPLOAD_PIECE).fill(this.#written), false);
      if (this.plan.readMs > 0) {
        this.ingress.process.after(8 * this.plan.readMs, `${this.plan.id} goes on`, () => this.#upload());
        return;
      }
      if (!more) return;
    }
    if (this.outcome === null) this.forward!.end();
  }

  // --- Reply ---

  onHead(head: ResponseHead): void {
    this.#alive("a head");
    if (this.#head !== null) this.#wrong("a second head");
    this.#head = head;
  }

  onChunk(payload: Uint8Array, _type: ChunkType, _more: boolean, charge: number): void {
    this.#alive("a chunk");
    if (this.#head === null) this.#wrong("a chunk before the head");
    if (this.plan.kind === "upload") this.#text += Buffer.from(payload).toString("latin1");
    else this.#check(payload);
    if (this.plan.readMs === 0) this.forward!.consumed(charge);
    else this.ingress.process.after(this.plan.readMs, `${this.plan.id} has read`, () => this.forward!.consumed(charge));
  }

  #check(payload: Uint8Array): void {
    const number = executionOf(payload);
    this.execution ??= number;
    if (number !== this.execution)
      this.#wrong(`chunk ${this.#chunks} is of execution ${number}, those before of ${this.execution}`);
    else if (!Buffer.from(payload).equals(oracle(this.plan.id, this.#chunks, number, this.plan.size)))
      this.#wrong(
        `chunk ${this.#chunks} is not the oracle's: ${Buffer.from(payload.subarray(0, 40)).toString("latin1")}`,
      );
    this.#chunks += 1;
  }

  onEnd(_end: EndHead): void {
    this.#alive("an end");
    const { plan } = this;
    if (this.#head?.status !== 200) this.#wrong(`ended with status ${this.#head?.status}`);
    if (plan.kind === "upload") {
      if (this.#text !== uploadOracle(plan.count * UPLOAD_PIECE))
        this.#wrong(`the upload was answered "${this.#text}"`);
    } else if (this.#chunks !== plan.count) this.#wrong(`ended after ${this.#chunks} of ${plan.count} chunks`);
    this.#finish({ how: "answered" });
  }

  onFail(fail: FailHead): void {
    this.#alive("a failure");
    this.#finish({ how: "failed", status: OUTSIDE[fail.code].http, message: `${fail.code} ${fail.message}` });
  }

  onCut(): void {
    throw new Error("a simulated client was cut off");
  }
  onWritable(): void {
    if (this.plan.kind === "upload" && this.plan.readMs === 0) this.#upload();
  }

  // --- own ---

  #alive(what: string): void {
    if (this.outcome !== null && this.outcome.how !== "left")
      this.#wrong(`${what} came after its end (${this.outcome.how})`);
  }

  #wrong(what: string): void {
    this.#scene.violated("answers are the oracle's, once", `${this.plan.id} (${this.plan.kind}): ${what}`);
  }

  #finish(outcome: Outcome): void {
    if (this.outcome !== null) return;
    this.outcome = outcome;
    this.endedAt = this.#scene.clock.now;
    this.#stopTimer();
    this.ingress.requests.delete(this);
    this.#scene.trace.add(`${this.plan.id} ${JSON.stringify(outcome)}`);
    this.#ended(this);
  }
}

/** Asks at random times, of any ingress that serves, as long as it is told to. */
export class Clients {
  readonly open = new Set<Request>();
  readonly all: Request[] = [];
  asking = true;
  readonly #scene: Scene;
  readonly #random: Random;

  constructor(scene: Scene) {
    this.#scene = scene;
    this.#random = scene.random("clients");
  }

  start(): void {
    this.#next();
  }

  ask(plan: Plan, ingress: IngressProcess): Request {
    const request = new Request(this.#scene, ingress, plan, (ended) => void this.open.delete(ended));
    this.open.add(request);
    this.all.push(request);
    return request;
  }

  #next(): void {
    const pause = -Math.log(1 - this.#random()) * this.#scene.options.requestEveryMs;
    this.#scene.clock.after(pause, "a client", () => {
      if (!this.asking) return;
      this.#next();
      const serving = [...this.#scene.ingresses.values()].filter(
        (ingress) => ingress.serving && ingress.mesh.notReady() === null,
      );
      const plan = planOf(this.#random, this.all.length);
      if (serving.length > 0) this.ask(plan, pickOne(this.#random, serving));
    });
  }
}
