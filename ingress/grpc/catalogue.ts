/**
 * Which services and methods the routing table offers, and which application a call is for. Rebuilt when a table comes; knows no sockets.
 */
import { createFileRegistry, fromBinary, type FileRegistry } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { fromBase64 } from "../../protocol/grpc.ts";
import type { RoutedApp, RoutingTable } from "../../protocol/routes.ts";
import { keyringOf, type Keyring } from "../api-keys.ts";
import { BUILT_IN_DESCRIPTORS } from "./built-in-descriptors.ts";

const registryOf = (descriptors: string): FileRegistry =>
  createFileRegistry(fromBinary(FileDescriptorSetSchema, fromBase64(descriptors)));

export const BUILT_IN = registryOf(BUILT_IN_DESCRIPTORS);
export const BUILT_IN_SERVICES = [
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
  "ray.serve.RayServeAPIService",
] as const;

export interface CatalogueApp {
  readonly name: string;
  readonly deployment: string;
  readonly services: readonly string[];
  readonly registry: FileRegistry;
  readonly accessLog: boolean;
  /** What callers must show; null: nothing. */
  readonly keys: Keyring | null;
}

export type Choice =
  | { readonly app: CatalogueApp }
  | { readonly app: null; readonly code: "NOT_FOUND" | "UNIMPLEMENTED"; readonly details: string };

const HINT = "Ping /ray.serve.RayServeAPIService/ListApplications for available applications.";
const NO_METHOD = "Method not found!";

export class Catalogue {
  readonly apps: readonly CatalogueApp[];
  /** All that have a route to clients, with gRPC services or without. */
  readonly names: readonly string[];
  readonly #configured: ReadonlySet<string>;

  /** `configured`: services that `grpc_servicer_functions` names. Descriptors that don't parse are told to `log`; their application is left out. */
  constructor(
    table: Pick<RoutingTable, "apps" | "loggingConfig"> | null,
    configured: readonly string[],
    log: (message: string) => void,
  ) {
    const apps = table?.apps ?? [];
    this.names = apps.map((app) => app.name);
    this.apps = apps.flatMap((app) =>
      read(app, app.loggingConfig?.enable_access_log ?? table?.loggingConfig?.enable_access_log ?? true, log),
    );
    this.#configured = new Set([...configured, ...this.apps.flatMap((app) => app.services)]);
  }

  /** Services of clients' applications, sorted. */
  get services(): string[] {
    return [...new Set(this.apps.flatMap((app) => app.services))].sort();
  }

  isConfigured(service: string): boolean {
    return this.#configured.has(service);
  }

  /**
   * The application for a call, as in Ray: with one application its name need not be said (nor be right), with more metadata `application`
   * says it. One that alone has the service is meant as well.
   */
  choose(service: string, method: string, wanted: string): Choice {
    if (!this.#configured.has(service)) return { app: null, code: "UNIMPLEMENTED", details: NO_METHOD };
    const able = this.apps.filter((app) => app.services.includes(service));
    const meant =
      this.names.length === 1 ? this.names[0]! : wanted === "" && able.length === 1 ? able[0]!.name : wanted;
    if (meant === "") return { app: null, code: "NOT_FOUND", details: `Application metadata not set. ${HINT}` };
    if (!this.names.includes(meant))
      return { app: null, code: "NOT_FOUND", details: `Application '${meant}' not found. ${HINT}` };
    const app = able.find((one) => one.name === meant);
    if (app === undefined)
      return { app: null, code: "UNIMPLEMENTED", details: `Application '${meant}' does not serve ${service}.` };
    const known = app.registry.getService(service)?.methods.some((m) => m.name === method) === true;
    return known ? { app } : { app: null, code: "UNIMPLEMENTED", details: NO_METHOD };
  }
}

function read(app: RoutedApp, accessLog: boolean, log: (message: string) => void): CatalogueApp[] {
  if (app.grpcDescriptors === undefined || app.grpcServices.length === 0) return [];
  try {
    return [
      {
        name: app.name,
        deployment: app.ingress,
        services: app.grpcServices,
        registry: registryOf(app.grpcDescriptors),
        accessLog,
        keys: keyringOf(app.apiKeys),
      },
    ];
  } catch (cause) {
    log(
      `Application '${app.name}' is not served by gRPC, its descriptors are not valid: ${cause instanceof Error ? cause.message : String(cause)}`,
    );
    return [];
  }
}
