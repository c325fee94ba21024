/** From command-line options to what the coordinator and the worker are started with. Pure. */
import { resolve } from "node:path";
import { isLoopback } from "../../protocol/address.ts";
import type { AgentOptions } from "../../protocol/local.ts";
import { EXIT } from "../../protocol/errors.ts";
import type { HttpOptions } from "../../protocol/config.ts";
import { CommandFailed } from "../failure.ts";
import type { MeshOptions } from "./mesh.ts";
import type { WantedPort } from "./ports.ts";

export interface WorkerFlags {
  readonly workerName?: string;
  readonly cpus?: number;
  readonly gpus?: number;
  /** JSON: custom resources by name. */
  readonly resources?: string;
  readonly device?: "auto" | "webgpu" | "native" | "wasm";
  readonly allowSoftwareGpu?: boolean;
  readonly ingressHost?: string;
  readonly ingressPort?: number;
  readonly ingressAdvertise?: readonly string[];
  readonly logLevel?: string;
}

export interface MeshFlags extends WorkerFlags {
  readonly dataDir?: string;
  readonly dashboardHost?: string;
  readonly dashboardPort?: number;
  readonly meshHost?: string;
  readonly meshPort?: number;
  readonly advertise?: readonly string[];
  readonly cert?: string;
  readonly key?: string;
  readonly insecure?: boolean;
  readonly insecureLocalApi?: boolean;
  readonly requireApproval?: boolean;
  readonly httpHost?: string;
  readonly httpPort?: number;
  readonly appDir?: string;
}

export const DASHBOARD_PORT = 8265;
export const MESH_PORT = 8266;
export const HTTP_PORT = 8000;
export const LOOPBACK = "127.0.0.1";

/** What the person said about client listeners; null when nothing was said, so that the first deploy decides. */
export function httpOf(flags: MeshFlags): Partial<HttpOptions> | null {
  if (flags.httpHost === undefined && flags.httpPort === undefined) return null;
  return {
    ...(flags.httpHost === undefined ? {} : { host: flags.httpHost }),
    ...(flags.httpPort === undefined ? {} : { port: flags.httpPort }),
  };
}

/** `state`: see CoordinatorOptions. `machine`: this machine's name. Throws usage errors (exit 2). */
export function meshOptions(
  flags: MeshFlags,
  place: { dataDir: string; cwd: string; machine: string; state: "run" | "mesh"; worker: boolean },
): MeshOptions {
  const path = (file: string): string => resolve(place.cwd, file);
  if ((flags.cert === undefined) !== (flags.key === undefined))
    throw new CommandFailed(EXIT.usage, "--cert and --key go together.");
  return {
    coordinator: {
      dataDir: place.dataDir,
      operators: { host: flags.dashboardHost ?? LOOPBACK, port: flags.dashboardPort ?? DASHBOARD_PORT },
      mesh: {
        host: flags.meshHost ?? LOOPBACK,
        port: flags.meshPort ?? MESH_PORT,
        advertise: flags.advertise ?? [],
        insecure: flags.insecure ?? false,
        ...(flags.cert === undefined || flags.key === undefined
          ? {}
          : { cert: path(flags.cert), key: path(flags.key) }),
      },
      appDir: path(flags.appDir ?? "."),
      state: place.state,
      again: false,
      insecureLocalApi: flags.insecureLocalApi ?? false,
      requireApproval: flags.requireApproval ?? false,
      http: httpOf(flags),
      logLevel: flags.logLevel ?? "info",
    },
    worker: place.worker ? workerOptions(flags, place, ownIngress(flags)) : null,
  };
}

/** Other machines reach this machine's ingress where they reach its mesh port, unless it was told otherwise. */
function ownIngress({ meshHost = LOOPBACK, advertise = [] }: MeshFlags): IngressPlace {
  if (isLoopback(meshHost)) return { host: LOOPBACK, names: [] };
  return { host: meshHost, names: [...new Set(advertise.flatMap((url) => URL.parse(url)?.hostname ?? []))] };
}

/** Where an ingress listens for replicas, and under which names other machines reach it there. */
export interface IngressPlace {
  readonly host: string;
  readonly names: readonly string[];
}

/** Options of a worker, all but whom it joins. `ingress`: where nothing else was said. */
export function workerOptions(
  flags: WorkerFlags,
  place: { dataDir: string; machine: string },
  ingress: IngressPlace,
): Omit<AgentOptions, "meshUrls" | "joinToken" | "hostId"> {
  return {
    dataDir: place.dataDir,
    name: flags.workerName ?? place.machine,
    allowSoftwareGpu: flags.allowSoftwareGpu ?? false,
    cpus: flags.cpus ?? null,
    gpus: flags.gpus ?? null,
    resources: readResources(flags.resources),
    device: flags.device ?? "auto",
    ingressMesh: {
      host: flags.ingressHost ?? ingress.host,
      port: flags.ingressPort ?? 0,
      names: ingress.names,
      advertise: flags.ingressAdvertise ?? [],
      disabled: false,
    },
    logLevel: flags.logLevel ?? "info",
  };
}

function readResources(text: string | undefined): Record<string, number> {
  if (text === undefined) return {};
  const wrong = (): CommandFailed =>
    new CommandFailed(
      EXIT.usage,
      `--resources wants JSON with a number for each name, for example '{"scanner": 1}'; got ${text}`,
    );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong();
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong();
  const entries = Object.entries(value as Record<string, unknown>);
  if (!entries.every((entry): entry is [string, number] => typeof entry[1] === "number" && entry[1] >= 0))
    throw wrong();
  return Object.fromEntries(entries);
}

/** The ports that such a mesh will need, `http` being what the first deploy asks for (null: nothing yet). */
export function portsOf(options: MeshOptions, http: { host: string; port: number } | null): WantedPort[] {
  const { operators, mesh } = options.coordinator;
  return [
    { ...operators, purpose: "the operators' API", option: "--dashboard-port" },
    { host: mesh.host, port: mesh.port, purpose: "the mesh", option: "--mesh-port" },
    ...(http === null ? [] : [{ ...http, purpose: "HTTP clients", option: "--http-port (or http_options.port)" }]),
  ];
}
