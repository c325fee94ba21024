/**
 * What operators can ask for, apart from HTTP: deploy, delete, scale, wait. Checks what needs the state (prefixes, artefacts), then tells the loop.
 */
import { manifestSchema, type Manifest } from "../protocol/artefact.ts";
import {
  applicationSchema,
  grpcOptionsSchema,
  httpOptionsSchema,
  unsupportedKeys,
  type ApplicationConfig,
  type DeployConfig,
} from "../protocol/config.ts";
import { SkeinError } from "../protocol/errors.ts";
import type { Sha256 } from "../protocol/ids.ts";
import { openWarnings } from "./api-keys.ts";
import type { BlobStore } from "./blobs.ts";
import type { DeployOptions, DeployedApp } from "./events.ts";
import type { Loop } from "./loop.ts";
import { isReservedName } from "./names.ts";
import type { State } from "./state.ts";

/** Deleting everything waits for replicas to drain, ms; what takes longer goes on behind the answer. */
const DELETE_WAIT_MS = 30_000;

/** Calls once after `ms`, unless the returned function is called before. */
export type After = (ms: number, call: () => void) => () => void;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export class Service {
  readonly loop: Loop;
  readonly blobs: BlobStore;
  readonly #now: () => number;
  readonly #after: After;

  constructor(loop: Loop, blobs: BlobStore, now: () => number, after: After) {
    this.loop = loop;
    this.blobs = blobs;
    this.#now = now;
    this.#after = after;
  }

  /** Ray's declarative deploy. Resolves with warnings when the new desired state is durable. `input` is the body as sent. */
  async deploy(config: DeployConfig, input: unknown): Promise<string[]> {
    const raw = isRecord(input) && Array.isArray(input["applications"]) ? input["applications"] : [];
    this.#checkNames(config.applications, "declarative");
    const apps = await Promise.all(config.applications.map((app, i) => this.#app(app, raw[i])));
    const warnings = [
      ...unsupportedWarnings(input),
      ...this.#ignored(config, input),
      ...config.applications.flatMap(runtimeEnvWarnings),
    ];
    const options: DeployOptions = {
      proxyLocation: config.proxy_location,
      http: config.http_options,
      grpc: config.grpc_options,
      loggingConfig: config.logging_config ?? null,
      targetCapacity: config.target_capacity ?? null,
    };
    await this.loop.dispatch({ type: "deployed", source: "declarative", options, apps, warnings, nowMs: this.#now() });
    return [...warnings, ...openWarnings(this.loop.state.desired)];
  }

  /** Adds or replaces one application and leaves the others alone. */
  async put(app: ApplicationConfig, input: unknown): Promise<string[]> {
    this.#checkNames([app], "imperative");
    const apps = [await this.#app(app, input)];
    const warnings = [...unsupportedWarnings({ applications: [input] }), ...runtimeEnvWarnings(app)];
    const options: DeployOptions = {
      proxyLocation: "EveryNode",
      http: httpOptionsSchema.parse({}),
      grpc: grpcOptionsSchema.parse({}),
      loggingConfig: null,
      targetCapacity: null,
    };
    await this.loop.dispatch({ type: "deployed", source: "imperative", options, apps, warnings, nowMs: this.#now() });
    return [...warnings, ...openWarnings(this.loop.state.desired)];
  }

  async deleteApp(name: string): Promise<void> {
    const app = isReservedName(name) ? undefined : this.loop.state.desired.apps[name];
    if (app === undefined) throw new SkeinError("NOT_FOUND", `Application "${name}" does not exist.`);
    await this.loop.dispatch({ type: "deleteRequested", apps: [app.name] });
  }

  /** Ray's shutdown of Serve: resolves when everything is gone, or after a while. */
  async deleteAll(): Promise<void> {
    await this.loop.dispatch({ type: "deleteRequested", apps: "all" });
    await this.until((state) => Object.values(state.desired.apps).every((app) => !app.deleting), DELETE_WAIT_MS);
  }

  async scale(app: string, deployment: string, replicas: number): Promise<void> {
    const found = this.loop.state.desired.apps[app];
    if (found?.target == null || found.target.deployments[deployment] === undefined)
      throw new SkeinError("NOT_FOUND", "Application or Deployment not found");
    if (!found.config.external_scaler_enabled || found.deleting)
      throw new SkeinError(
        "CONFLICT",
        `Cannot update replicas for deployment '${deployment}' in application '${app}'. The external scaling API can only be used when 'external_scaler_enabled' is set to true in the application configuration. ` +
          "Current value: external_scaler_enabled=false. To use this API, redeploy your application with 'external_scaler_enabled: true' in the config.",
      );
    await this.loop.dispatch({ type: "scaled", app: found.name, deployment, replicas });
  }

  /** Resolves when the state fulfils the condition, or after `withinMs`. */
  until(holds: (state: State) => boolean, withinMs: number): Promise<boolean> {
    if (holds(this.loop.state)) return Promise.resolve(true);
    return new Promise((resolve) => {
      const end = (result: boolean): void => {
        cancel();
        stop();
        resolve(result);
      };
      const cancel = this.#after(withinMs, () => end(false));
      const stop = this.loop.onChange((state) => {
        if (holds(state)) end(true);
      });
    });
  }

  async manifest(artefact: string): Promise<Manifest> {
    const missing = (what: string): SkeinError =>
      new SkeinError(
        "INVALID_ARGUMENT",
        `The artefact ${artefact} ${what}: upload its blobs (PUT /api/skein/blobs/<sha256>) before deploying.`,
      );
    if ((await this.blobs.size(artefact as Sha256)) === null) throw missing("is not here");
    const manifest = manifestSchema.safeParse(json(await this.blobs.text(artefact as Sha256)));
    if (!manifest.success)
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `The blob ${artefact} is not a manifest: ${manifest.error.issues[0]?.message ?? "unknown form"}.`,
      );
    const { bundles, assets } = manifest.data;
    for (const blob of [bundles.node, bundles.browser, ...Object.values(assets)])
      if (blob !== null && (await this.blobs.size(blob as Sha256)) === null)
        throw missing(`names the blob ${blob}, which is not here`);
    return manifest.data;
  }

  async #app(config: ApplicationConfig, raw: unknown): Promise<DeployedApp> {
    const submitted = isRecord(raw) ? raw : {};
    const built =
      config.artefact === undefined
        ? null
        : { artefact: config.artefact, manifest: await this.manifest(config.artefact) };
    return { config, submitted, built };
  }

  /** A name must be usable, and a prefix that an application which stays has already can't be taken. */
  #checkNames(apps: readonly ApplicationConfig[], source: "declarative" | "imperative"): void {
    const names = new Set(apps.map((app) => app.name));
    for (const name of names)
      if (isReservedName(name))
        throw new SkeinError("INVALID_ARGUMENT", `Application "${name}": this name is reserved. Choose another.`);
    for (const other of Object.values(this.loop.state.desired.apps)) {
      if (other.deleting || names.has(other.name) || (source === "declarative" && other.source === "declarative"))
        continue;
      for (const app of apps)
        if (app.route_prefix !== null && app.route_prefix === other.config.route_prefix)
          throw new SkeinError(
            "INVALID_ARGUMENT",
            `Prefix ${app.route_prefix} is being used by application "${other.name}". Failed to deploy application "${app.name}".`,
          );
    }
  }

  /** Listeners are chosen by the first deploy; what a later one says differently is answered, not done. */
  #ignored(config: DeployConfig, input: unknown): string[] {
    const { http, grpc, proxyLocation } = this.loop.state.desired.options;
    if (http === null || !isRecord(input)) return [];
    const warnings: string[] = [];
    const compare = (name: string, given: unknown, wanted: object, current: object | null): void => {
      if (!isRecord(given) || current === null) return;
      const differing = Object.keys(given).filter(
        (key) =>
          JSON.stringify((wanted as Record<string, unknown>)[key]) !==
          JSON.stringify((current as Record<string, unknown>)[key]),
      );
      if (differing.length > 0)
        warnings.push(
          `${name} can't be changed while Skein runs; ignored: ${differing.join(", ")}. To change them, shut Skein down and deploy again.`,
        );
    };
    compare("http_options", input["http_options"], config.http_options, http);
    compare("grpc_options", input["grpc_options"], config.grpc_options, grpc);
    if (input["proxy_location"] !== undefined && config.proxy_location !== proxyLocation)
      warnings.push(`proxy_location can't be changed while Skein runs; it stays ${proxyLocation}.`);
    return warnings;
  }
}

const json = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

const unsupportedWarnings = (input: unknown): string[] =>
  unsupportedKeys(input).map((path) => `${path} is not supported yet and has no effect.`);

const runtimeEnvWarnings = (app: ApplicationConfig): string[] =>
  Object.keys(app.runtime_env)
    .filter((key) => key !== "env_vars")
    .map((key) => `Application "${app.name}": runtime_env.${key} is not supported and has no effect.`);

/** One application as `/api/skein/applications/:name` takes it; the name is the path's. */
export const parseApplication = (name: string, body: unknown) =>
  applicationSchema.safeParse({ ...(isRecord(body) ? body : {}), name });
