/** The mesh as a script sees it: the command's own builds and requests, and calls over data links. */
import packageJson from "../../package.json" with { type: "json" };
import { EXIT, SkeinError, type ErrorCode } from "../../protocol/errors.ts";
import { ChildFailed } from "../../protocol/node/parent.ts";
import type { InstanceDetails } from "../../protocol/status.ts";
import type { MeshState, Operator, RunOptions, Topology } from "../../serve/script.ts";
import { ScriptCaller } from "../../worker/node/script-caller.ts";
import type { Client } from "../client.ts";
import { Deployer } from "../deployer.ts";
import { CommandFailed, explain, Interrupted } from "../failure.ts";
import { follow } from "../follow.ts";
import type { Shell } from "../shell.ts";
import { readTarget, type Target } from "../target.ts";
import type { ScriptModules } from "./modules.ts";

/** Between two looks at an application that goes, ms. */
const LOOK_AGAIN_MS = 75;

const CODES: Readonly<Record<number, ErrorCode>> = {
  [EXIT.usage]: "INVALID_ARGUMENT",
  [EXIT.badConfig]: "INVALID_ARGUMENT",
  [EXIT.notFound]: "NOT_FOUND",
  [EXIT.unreachable]: "UNAVAILABLE",
  [EXIT.notAllowed]: "PERMISSION_DENIED",
  [EXIT.timeout]: "TIMEOUT",
  [EXIT.interrupted]: "CANCELLED",
};

/** A command's failure as a script can catch it. */
async function asked<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof CommandFailed || error instanceof ChildFailed)) throw error;
    const { exit, message } = explain(error);
    throw new SkeinError(CODES[exit] ?? "APPLICATION_ERROR", message, { cause: error });
  }
}

/** `client` is made when it is first needed: a script may run without a mesh. */
export function scriptOperator(client: () => Promise<Client>, modules: ScriptModules, shell: Shell): Operator {
  const caller = new ScriptCaller(async () => asked((await client()).createCaller()), packageJson.version);
  return {
    unary: (call) => caller.unary(call),
    stream: (call) => caller.stream(call),
    run: (application, options) => asked(deploy(application, options, client, modules, shell)),
    status: async () => stateOf(await asked(client().then((c) => c.status()))),
    delete: (app) => asked(remove(app, client, shell)),
    shutdown: () => asked(client().then((c) => c.deleteAll())),
    topology: async (app) => topologyOf(await asked(client().then((c) => c.status())), app),
  };
}

async function deploy(
  application: unknown,
  options: Required<RunOptions>,
  connected: () => Promise<Client>,
  modules: ScriptModules,
  shell: Shell,
): Promise<void> {
  const target = await targetOf(application, options, modules, shell);
  const client = await connected();
  await client.status();
  const deployer = new Deployer(target.target, target.folder, shell);
  await deployer.deploy(await deployer.build(), client, false);
  await follow([options.name], client, shell, () => {}).catch((error: unknown) => {
    if (!(error instanceof CommandFailed) || error.exit !== EXIT.failed) throw error;
    throw new CommandFailed(error.exit, `Deploying application ${options.name} failed: ${error.message}`, {
      cause: error,
    });
  });
}

async function targetOf(
  application: unknown,
  { name, routePrefix, args }: Required<RunOptions>,
  modules: ScriptModules,
  shell: Shell,
): Promise<{ target: Target; folder: string }> {
  const found =
    typeof application === "string"
      ? { folder: shell.cwd, importPath: application }
      : await modules.exportOf(application);
  if (found === undefined)
    throw new SkeinError(
      "INVALID_ARGUMENT",
      "run(): replicas import an application from its module, and no module of this script exports this one. Export it from a file of its own " +
        "(`export const app = deployment(…).bind()`; not from the script: each replica would run it again) and import it, or give run() an import path.",
    );
  const target = await readTarget(found.importPath, [], { name }, shell.cwd);
  if (target.kind === "config") throw new SkeinError("INVALID_ARGUMENT", "run() takes an application or `module:export`; a configuration is deployed with `skein deploy`."); // prettier-ignore
  const more = { route_prefix: routePrefix, ...(Object.keys(args).length === 0 ? {} : { args }) };
  return { target: { ...target, application: { ...target.application, ...more } }, folder: found.folder };
}

async function remove(app: string, connected: () => Promise<Client>, shell: Shell): Promise<void> {
  const client = await connected();
  await client.deleteApplication(app);
  while ((await client.status()).applications[app] !== undefined) {
    await shell.sleep(LOOK_AGAIN_MS);
    if (shell.stop.aborted) throw new Interrupted();
  }
}

function topologyOf(details: InstanceDetails, app: string): Topology | undefined {
  const topology = details.applications[app]?.deployment_topology;
  if (topology == null) return undefined;
  return { ingress: topology.ingress_deployment, deployments: Object.keys(topology.nodes) };
}

const mapValues = <T, R>(record: Readonly<Record<string, T>>, to: (value: T) => R): Record<string, R> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, to(value)]));

/** Ray's status in this language's habit. Pure. */
export const stateOf = (details: InstanceDetails): MeshState => ({
  proxies: mapValues(details.proxies, (proxy) => proxy.status),
  applications: mapValues(details.applications, (app) => ({
    status: app.status,
    message: app.message,
    lastDeployedTimeS: app.last_deployed_time_s,
    deployments: mapValues(app.deployments, (deployment) => ({
      status: deployment.status,
      statusTrigger: deployment.status_trigger,
      message: deployment.message,
      replicaStates: mapValues(
        Object.groupBy(deployment.replicas, (replica) => replica.state),
        (replicas) => replicas?.length ?? 0,
      ),
    })),
  })),
  targetCapacity: details.target_capacity,
});
