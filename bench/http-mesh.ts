/** Starts a real ingress process with a coordinator played here and one replica process without user code. */
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { WebSocketServer } from "ws";
import { httpOptionsSchema } from "../protocol/config.ts";
import type { IngressReport } from "../protocol/control.ts";
import type { IngressOptions } from "../protocol/local.ts";
import { childReady, spawnChild } from "../protocol/node/parent.ts";
import { generateKeys, signTicket } from "../protocol/ticket.ts";
import type { RoleOptions } from "./http-roles.ts";

export interface BenchMesh {
  readonly port: number;
  readonly pid: number;
  stop(): void;
}

export async function startBaseline(): Promise<BenchMesh> {
  const child = spawnChild(new URL("http-roles.ts", import.meta.url), { output: "inherit" });
  const port = await childReady<RoleOptions, number>(child, { role: "baseline" });
  return { port, pid: child.pid!, stop: () => child.kill("SIGKILL") };
}

export async function startMesh(): Promise<BenchMesh> {
  const dataDir = mkdtempSync(path.join(tmpdir(), "skein-bench-"));
  const keys = await generateKeys("k");
  const replica = "app#D#1";
  const routes = {
    version: { term: 1, revision: 1 },
    keys: [keys.publicKey],
    revoked: [],
    draining: false,
    head: true,
    http: {},
    grpc: {},
    apps: [{ name: "app", routePrefix: "/", ingress: "D" }],
    deployments: [
      {
        app: "app",
        name: "D",
        maxOngoingRequests: 1000,
        maxQueuedRequests: -1,
        retry: "none",
        unavailable: false,
        replicas: [{ replica, worker: "w", host: "h", incarnation: 1, state: "ready" }],
      },
    ],
  };
  const coordinator = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  coordinator.on("connection", (socket) =>
    socket.on("message", (data) => {
      if ((JSON.parse(String(data)) as { type: string }).type !== "join") return;
      socket.send(
        JSON.stringify({ type: "welcome", ticket: "t", term: 1, timeMs: Date.now(), keys: [keys.publicKey] }),
      );
      socket.send(JSON.stringify({ type: "routes", table: routes }));
      const ping = setInterval(() => socket.send('{"type":"ping"}'), 1000);
      socket.on("close", () => clearInterval(ping));
    }),
  );
  await new Promise((resolve) => coordinator.once("listening", resolve));
  const { port } = coordinator.address() as { port: number };
  const children: ChildProcess[] = [];
  const spawn = (module: string): ChildProcess => {
    const child = spawnChild(new URL(module, import.meta.url), { output: "inherit" });
    children.push(child);
    return child;
  };
  const profile = process.env.SKEIN_BENCH_PROFILE;
  const ingress =
    profile === undefined
      ? spawn("../ingress/main.ts")
      : spawnChild(new URL("../ingress/main.ts", import.meta.url), {
          output: "inherit",
          execArgv: ["--cpu-prof", `--cpu-prof-dir=${profile}`],
        });
  if (profile !== undefined) children.push(ingress);
  const report = await childReady<IngressOptions, IngressReport>(ingress, {
    dataDir,
    host: "h",
    coordinatorUrls: [`http://127.0.0.1:${port}`],
    mesh: { host: "127.0.0.1", port: 0, names: [], advertise: [], secure: false },
    logLevel: "info",
    spec: { ingress: "i", ticket: "t", http: httpOptionsSchema.parse({ port: 0 }), grpc: null },
  });
  const ticket = await signTicket(
    {
      use: "replica",
      kid: "k",
      notAfter: Date.now() + 3_600_000,
      replica,
      incarnation: 1,
      app: "app",
      deployment: "D",
      worker: "w",
      host: "h",
      callees: [],
    },
    keys.privateKey,
  );
  // The keys reach the ingress by the control link.
  await new Promise((resolve) => setTimeout(resolve, 500));
  await childReady<RoleOptions, number>(spawn("http-roles.ts"), { role: "replica", url: report.urls[0]!, ticket });
  return {
    port: report.http!.port,
    pid: ingress.pid!,
    stop: () => {
      for (const child of children) child.kill(profile === undefined ? "SIGKILL" : "SIGTERM");
      coordinator.close();
      for (const client of coordinator.clients) client.terminate();
      if (profile === undefined) rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
