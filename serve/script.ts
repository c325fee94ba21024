/**
 * What a script does with a mesh, as Ray's `serve.run`, `serve.status`, … : `skein exec script.ts` runs it and connects it (cli/script/).
 * Knows what is asked, not how it travels.
 */
import { isErrorCode, SkeinError } from "../protocol/errors.ts";
import type {
  ApplicationStatus,
  DeploymentStatus,
  DeploymentTrigger,
  ProxyStatus,
  ReplicaState,
} from "../protocol/status.ts";
import { Application, Deployment } from "./deployment.ts";
import { makeHandle, type Caller, type DeploymentHandle } from "./handle.ts";
import { runtime } from "./runtime.ts";

/** Where an application that a script runs goes. */
export interface RunOptions {
  /** Name of the application; one of that name is replaced. Default "default". */
  readonly name?: string;
  /** Default "/"; null: not over HTTP. */
  readonly routePrefix?: string | null;
  /** For an application builder. */
  readonly args?: Readonly<Record<string, unknown>>;
}

/** One deployment in `status()`, in Ray's words. */
export interface DeploymentState {
  readonly status: DeploymentStatus;
  readonly statusTrigger: DeploymentTrigger;
  readonly message: string;
  readonly replicaStates: Readonly<Partial<Record<ReplicaState, number>>>;
}
/** One application in `status()`, in Ray's words. */
export interface ApplicationState {
  readonly status: ApplicationStatus;
  readonly message: string;
  readonly lastDeployedTimeS: number;
  readonly deployments: Readonly<Record<string, DeploymentState>>;
}
/** What `status()` gives: ingresses by host, applications by name. */
export interface MeshState {
  readonly proxies: Readonly<Record<string, ProxyStatus>>;
  readonly applications: Readonly<Record<string, ApplicationState>>;
  readonly targetCapacity: number | null;
}

/** Deployments of an application, and which of them takes HTTP requests. */
export interface Topology {
  readonly ingress: string;
  readonly deployments: readonly string[];
}

/** The mesh as whoever runs the script reaches it. */
export interface Operator extends Caller {
  /** Resolves when it runs. */
  run(target: Application | string, options: Required<RunOptions>): Promise<void>;
  status(): Promise<MeshState>;
  /** Resolves when nothing is left of it. */
  delete(app: string): Promise<void>;
  shutdown(): Promise<void>;
  topology(app: string): Promise<Topology | undefined>;
}

declare module "./runtime.ts" {
  interface Runtime {
    operator?: Operator;
  }
}

function operator(what: string): Operator {
  const { operator: found, replica } = runtime();
  if (found !== undefined) return found;
  throw new SkeinError(
    "UNIMPLEMENTED",
    replica === null
      ? `${what} needs a mesh: start this script with \`skein exec <file>\`.`
      : `${what} is for scripts. In a replica, bind what you call: handles arrive as arguments of the constructor.`,
  );
}

/** The script's own class of error, wherever it was thrown. */
async function asked<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    throw isErrorCode(code) && !(error instanceof SkeinError) ? new SkeinError(code, String(message)) : error;
  }
}

/**
 * Deploys an application beside those that run, waits until it runs, and gives the handle of its ingress; it stays when the script ends.
 * `application`: one that a module other than the script exports, or its import path (`"llm:chat"`, from the working directory).
 * Rejects with `INVALID_ARGUMENT` for what can't be deployed, `APPLICATION_ERROR` when the deploy fails (the message says why),
 * `UNAVAILABLE` when no mesh answers.
 */
export async function run<T = unknown>(
  application: Application<T> | string,
  options: RunOptions = {},
): Promise<DeploymentHandle<T>> {
  const { name = "default", routePrefix = "/", args = {} } = options;
  const mesh = operator("run()");
  if (!(application instanceof Application) && typeof application !== "string")
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `\`run\` expects an \`Application\` returned by \`Deployment.bind()\`, or an import path.${(application as unknown) instanceof Deployment ? " Call .bind() on the deployment." : ""}`,
    );
  await asked(mesh.run(application as Application | string, { name, routePrefix, args }));
  return getAppHandle<T>(name);
}

/** What runs. Rejects with `UNAVAILABLE` when no mesh answers. */
export async function status(): Promise<MeshState> {
  return asked(operator("status()").status());
}

/** Takes an application away and waits until nothing is left of it; one that isn't there is fine, as in Ray. Also exported as `delete`. */
export async function deleteApplication(name: string): Promise<void> {
  return asked(operator("delete()").delete(name));
}

/** Takes every application away. The mesh goes on. */
export async function shutdown(): Promise<void> {
  return asked(operator("shutdown()").shutdown());
}

/** Handle of an application's ingress. Rejects with `NOT_FOUND` when there is no such application. */
export async function getAppHandle<T = unknown>(name: string): Promise<DeploymentHandle<T>> {
  const mesh = operator("getAppHandle()");
  const { ingress } = await topologyOf(mesh, name);
  return makeHandle<T>(mesh, { app: name, deployment: ingress });
}

/** Handle of one deployment of an application. Rejects with `NOT_FOUND` when there is no such deployment. */
export async function getDeploymentHandle<T = unknown>(
  deployment: string,
  app = "default",
): Promise<DeploymentHandle<T>> {
  const mesh = operator("getDeploymentHandle()");
  const { deployments } = await topologyOf(mesh, app);
  if (!deployments.includes(deployment))
    throw new SkeinError("NOT_FOUND", `Deployment(name='${deployment}', app='${app}') does not exist.`);
  return makeHandle<T>(mesh, { app, deployment });
}

async function topologyOf(mesh: Operator, app: string): Promise<Topology> {
  const found = await asked(mesh.topology(app));
  if (found === undefined) throw new SkeinError("NOT_FOUND", `Application '${app}' does not exist.`);
  return found;
}
