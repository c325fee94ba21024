/**
 * Prometheus metrics under Ray Serve's names with the prefix `skein_` (ray-serve.md 1.14). Labels come from routes and deployments,
 * never from what a client sends, so their number is bounded.
 */
import { Counter, Gauge, Registry } from "prom-client";
import type { Finished } from "./http/context.ts";
import type { Mesh } from "./mesh.ts";
import { RequestSeries } from "./request-series.ts";

const LATENCY_BUCKETS_MS = [
  1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500, 1000, 2000, 5000, 10_000, 60_000, 120_000, 300_000, 600_000,
];
const METHODS: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "PATCH",
  "DELETE",
  "OPTIONS",
  "TRACE",
  "WEBSOCKET",
]);

/** Requests of one protocol. */
export class RequestMetrics {
  readonly #series = new RequestSeries(LATENCY_BUCKETS_MS);
  readonly #errors: Counter;
  readonly #deploymentErrors: Counter;
  #ongoing = 0;

  constructor(protocol: "http" | "grpc", registers: Registry[]) {
    const what = protocol === "http" ? "HTTP requests" : "gRPC calls";
    for (const registry of registers)
      this.#series.register(
        registry,
        { name: `skein_num_${protocol}_requests_total`, help: `${what} answered.` },
        {
          name: `skein_${protocol}_request_latency_ms`,
          help: "Time from a request's head to the end of its answer, ms.",
        },
      );
    this.#errors = new Counter({
      name: `skein_num_${protocol}_error_requests_total`,
      help: `${what} answered with an error.`,
      labelNames: ["route", "method", "application", "error_code"],
      registers,
    });
    this.#deploymentErrors = new Counter({
      name: `skein_num_deployment_${protocol}_error_requests_total`,
      help: `${what} that a deployment answered with an error.`,
      labelNames: ["deployment", "method", "route", "application", "error_code"],
      registers,
    });
    const ongoing = (): number => this.#ongoing;
    new Gauge({
      name: `skein_num_ongoing_${protocol}_requests`,
      help: `${what} in hand.`,
      registers,
      collect() {
        this.set(ongoing());
      },
    });
  }

  started(): void {
    this.#ongoing += 1;
  }

  finished(request: Finished): void {
    this.#ongoing -= 1;
    const { route, app, deployment } = request;
    // A gRPC method that is not a known path comes as OTHER.
    const method = METHODS.has(request.method) || request.method.startsWith("/") ? request.method : "OTHER";
    this.#series.observe({ route, method, application: app, status_code: request.status }, request.ms);
    if (!request.isError) return;
    const status = String(request.status);
    this.#errors.inc({ route, method, application: app, error_code: status });
    if (deployment !== "")
      this.#deploymentErrors.inc({ deployment, method, route, application: app, error_code: status });
  }
}

export class IngressMetrics {
  readonly #registry = new Registry();
  readonly http: RequestMetrics;
  #grpc: RequestMetrics | null = null;

  constructor(mesh: Mesh) {
    const registers = [this.#registry];
    this.http = new RequestMetrics("http", registers);
    new Gauge({
      name: "skein_ingress_links",
      help: "Replicas linked to this ingress.",
      registers,
      collect() {
        this.set(mesh.links);
      },
    });
    new Gauge({
      name: "skein_ingress_backlog_bytes",
      help: "Bytes held for clients that read slowly.",
      registers,
      collect() {
        this.set(mesh.backlog.total);
      },
    });
    new Gauge({
      name: "skein_ingress_readers_cut",
      help: "Clients that were cut off because they had stopped reading, since the start.",
      registers,
      collect() {
        this.set(mesh.backlog.cuts);
      },
    });
    perDeployment(
      mesh,
      registers,
      "skein_deployment_queued_queries",
      "Requests that wait for a replica.",
      (pool) => pool.queued,
    );
    perDeployment(
      mesh,
      registers,
      "skein_num_ongoing_requests_at_replicas",
      "Requests that this ingress has given to replicas.",
      (pool) => pool.ongoing,
    );
    perDeployment(
      mesh,
      registers,
      "skein_ingress_replicas",
      "Replicas that may be used now.",
      (pool) => pool.peers.filter((peer) => peer.ready && peer.link !== null).length,
    );
  }

  /** Made when the first gRPC listener is. */
  grpc(): RequestMetrics {
    return (this.#grpc ??= new RequestMetrics("grpc", [this.#registry]));
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}

type PoolOf = Mesh["pools"] extends Iterable<infer P> ? P : never;

function perDeployment(
  mesh: Mesh,
  registers: Registry[],
  name: string,
  help: string,
  value: (pool: PoolOf) => number,
): void {
  new Gauge({
    name,
    help,
    registers,
    labelNames: ["deployment", "application"],
    collect() {
      this.reset();
      for (const pool of mesh.pools) this.set({ deployment: pool.deployment, application: pool.app }, value(pool));
    },
  });
}
