/** Prometheus metrics of the coordinator, read from the state when they are asked for. */
import { Gauge, Registry } from "prom-client";
import type { EngineReport } from "../protocol/engine-stats.ts";
import { engineMetricsText } from "./engine-metrics.ts";
import type { Loop } from "./loop.ts";
import { statusReport } from "./status-report.ts";

/** Numbers of Ray's status gauges (ray-serve: application 1 to 6, deployment 1 to 6). */
const APPLICATION = { DEPLOY_FAILED: 1, UNHEALTHY: 2, NOT_STARTED: 3, DELETING: 4, DEPLOYING: 5, RUNNING: 6 } as const;
const DEPLOYMENT = { DEPLOY_FAILED: 1, UNHEALTHY: 2, UPDATING: 3, UPSCALING: 4, DOWNSCALING: 5, HEALTHY: 6 } as const;
const PROXY = { STARTING: 1, HEALTHY: 2, UNHEALTHY: 3, DRAINING: 4, DRAINED: 5 } as const;

export function coordinatorMetrics(
  loop: () => Loop,
  sessions: () => number,
  enginesOf: (worker: string, replica: string) => readonly EngineReport[],
): () => Promise<{ type: string; text: string }> {
  const registry = new Registry();
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]): Gauge<L> =>
    new Gauge({ name: `skein_${name}`, help, labelNames: [...labelNames], registers: [registry] });
  const application = gauge(
    "application_status",
    "1 DEPLOY_FAILED, 2 UNHEALTHY, 3 NOT_STARTED, 4 DELETING, 5 DEPLOYING, 6 RUNNING",
    ["application"],
  );
  const deployment = gauge(
    "deployment_status",
    "1 DEPLOY_FAILED, 2 UNHEALTHY, 3 UPDATING, 4 UPSCALING, 5 DOWNSCALING, 6 HEALTHY",
    ["application", "deployment"],
  );
  const proxy = gauge("proxy_status", "1 STARTING, 2 HEALTHY, 3 UNHEALTHY, 4 DRAINING, 5 DRAINED", ["node_id"]);
  const target = gauge("autoscaling_target_replicas", "Replicas wanted", ["application", "deployment"]);
  const replicas = gauge("deployment_replicas", "Replicas by state", ["application", "deployment", "state"]);
  const workers = gauge("workers", "Workers by status", ["status"]);
  const links = gauge("control_links", "Control links that are open", []);
  const revision = gauge("controller_revision", "Projections sent since the start", []);
  return async () => {
    for (const g of [application, deployment, proxy, target, replicas, workers]) g.reset();
    const report = statusReport(loop().state, { pid: 0, startedAtMs: 0, revision: loop().revision });
    for (const app of Object.values(report.applications)) {
      application.set({ application: app.name }, APPLICATION[app.status]);
      for (const d of Object.values(app.deployments)) {
        const labels = { application: app.name, deployment: d.name };
        deployment.set(labels, DEPLOYMENT[d.status]);
        target.set(labels, d.target_num_replicas);
        for (const r of d.replicas) replicas.inc({ ...labels, state: r.state });
      }
    }
    for (const [node, { status }] of Object.entries(report.proxies)) proxy.set({ node_id: node }, PROXY[status]);
    for (const w of report.skein.workers) workers.inc({ status: w.status });
    links.set(sessions());
    revision.set(loop().revision);
    const engines = Object.values(loop().state.replicas).flatMap(({ id, app, deployment: name, worker }) =>
      worker === null
        ? []
        : enginesOf(worker, id).map((engine) => ({ application: app, deployment: name, replica: id, engine })),
    );
    return { type: registry.contentType, text: (await registry.metrics()) + engineMetricsText(engines) };
  };
}
