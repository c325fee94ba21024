/** `skein status` and `skein config`: what runs, and what was asked for, in Ray Serve's form. The views are pure. */
import { EXIT } from "../../protocol/errors.ts";
import type { ApplicationDetails, DeploymentDetails, InstanceDetails } from "../../protocol/status.ts";
import { connect, type AddressOptions } from "../connect.ts";
import { CommandFailed } from "../failure.ts";
import type { Shell } from "../shell.ts";
import { spacedYaml } from "../yaml.ts";

export interface ReadFlags extends AddressOptions {
  readonly name?: string;
  readonly json?: boolean;
}

export async function status(flags: ReadFlags, shell: Shell): Promise<number> {
  const details = await (await connect(flags, shell)).status();
  const { name } = flags;
  const application = name === undefined ? undefined : details.applications[name];
  if (name !== undefined && application === undefined)
    throw new CommandFailed(EXIT.notFound, `Application "${name}" does not exist.`);
  if (flags.json === true) shell.out(`${JSON.stringify(application ?? details, null, 2)}\n`);
  else shell.out(spacedYaml(application === undefined ? statusView(details) : applicationView(application)));
  return EXIT.ok;
}

export function statusView(details: InstanceDetails): Record<string, unknown> {
  return {
    proxies: Object.fromEntries(Object.entries(details.proxies).map(([node, proxy]) => [node, proxy.status])),
    applications: Object.fromEntries(
      Object.entries(details.applications).map(([name, app]) => [name, applicationView(app)]),
    ),
    target_capacity: details.target_capacity,
  };
}

const applicationView = (app: ApplicationDetails): Record<string, unknown> => ({
  status: app.status,
  message: app.message,
  last_deployed_time_s: app.last_deployed_time_s,
  deployments: Object.fromEntries(
    Object.entries(app.deployments).map(([name, deployment]) => [name, deploymentView(deployment)]),
  ),
});

function deploymentView(deployment: DeploymentDetails): Record<string, unknown> {
  const states = Object.entries(Object.groupBy(deployment.replicas, (replica) => replica.state));
  // What a replica waits for (why no worker can take it, how far its model is) is why people ask for the status.
  const waiting = [
    ...new Set(
      deployment.replicas
        .filter((r) => r.state !== "RUNNING" && r.message !== "" && !deployment.message.includes(r.message))
        .map((r) => r.message),
    ),
  ];
  return {
    status: deployment.status,
    status_trigger: deployment.status_trigger,
    replica_states: Object.fromEntries(states.map(([state, replicas]) => [state, replicas.length])),
    message: deployment.message,
    ...(waiting.length === 0 ? {} : { waiting }),
  };
}

export async function config(flags: ReadFlags, shell: Shell): Promise<number> {
  const details = await (await connect(flags, shell)).status();
  const all = Object.values(details.applications).flatMap((app) =>
    app.deployed_app_config === null ? [] : [{ name: app.name, config: written(app.deployed_app_config) }],
  );
  const chosen = flags.name === undefined ? all : all.filter((one) => one.name === flags.name);
  if (flags.name !== undefined && chosen.length === 0)
    throw new CommandFailed(EXIT.notFound, `No config has been deployed for application "${flags.name}".`);
  if (flags.json === true)
    shell.out(
      `${JSON.stringify(
        chosen.map((one) => one.config),
        null,
        2,
      )}\n`,
    );
  else if (chosen.length === 0) shell.note("No configuration was found.");
  else shell.out(chosen.map((one) => spacedYaml(one.config)).join("\n---\n\n"));
  return EXIT.ok;
}

/** Without the hash of the build, which the command added. */
function written(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { artefact: _, ...rest } = config;
  return rest;
}
