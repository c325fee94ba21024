/**
 * `skein run` and the quick start: serves applications and stays until Ctrl-C. Beside a live mesh it adds only its applications and takes
 * only them away; without one it starts its own mesh, which ends with it.
 */
import { hostname } from "node:os";
import { EXIT } from "../../protocol/errors.ts";
import { Client, readToken } from "../client.ts";
import { dataDirOf, liveMesh, type AddressOptions } from "../connect.ts";
import { Deployer } from "../deployer.ts";
import { CommandFailed, explain, Interrupted } from "../failure.ts";
import { follow, urlOf } from "../follow.ts";
import { servingBlock } from "../mesh/announce.ts";
import { Mesh } from "../mesh/mesh.ts";
import { HTTP_PORT, httpOf, meshOptions, portsOf, type MeshFlags } from "../mesh/options.ts";
import { requirePorts } from "../mesh/ports.ts";
import type { Shell } from "../shell.ts";
import { readTarget, type Target, type TargetOptions } from "../target.ts";

/** What a timer takes, ms. */
const LONGEST_SLEEP_MS = 2 ** 31 - 1;

export interface RunFlags extends MeshFlags, AddressOptions, TargetOptions {
  readonly reload?: boolean;
  readonly blocking?: boolean;
  readonly jsonReady?: boolean;
  /** JSON body of the curl line that is shown; undefined: a GET. */
  readonly tryBody?: string;
}

/** Throws `Interrupted` after Ctrl-C: a server that was stopped was stopped by someone. */
export async function run(text: string, args: readonly string[], flags: RunFlags, shell: Shell): Promise<number> {
  const begun = shell.now();
  const target = await readTarget(text, args, flags, shell.cwd);
  if (target.kind === "config") target.warnings.forEach(shell.note);
  const deployer = new Deployer(target, flags.appDir, shell);
  const live = await liveMesh(flags, shell);
  if (live !== undefined) return beside(live, deployer, flags, shell, begun);
  if (flags.blocking === false)
    throw new CommandFailed(
      EXIT.unreachable,
      "--non-blocking leaves the application in a running mesh, and none runs here: start one with `skein start`, or leave the option out.",
    );
  return inOwnMesh(deployer, flags, shell, begun);
}

async function inOwnMesh(deployer: Deployer, flags: RunFlags, shell: Shell, begun: number): Promise<number> {
  const { progress, stop, note } = shell;
  const dataDir = dataDirOf(flags, shell);
  const options = meshOptions(flags, { dataDir, cwd: shell.cwd, machine: hostname(), state: "run", worker: true });
  await requirePorts(portsOf(options, firstListener(deployer.target, flags)));
  const mesh = new Mesh(options, shell);
  try {
    progress.show("Building the application, starting coordinator and worker");
    // Side by side: a build takes about as long as a start.
    const building = deployer.build();
    building.catch(() => {});
    const ready = await mesh.start(stop);
    const client = new Client(ready.operatorsUrl, await readToken(ready.adminTokenFile), shell.fetch, stop);
    // One import path is added imperatively, as by `serve run`; a file is the whole desired state.
    const whole = deployer.target.kind === "config";
    await deployer.deploy(await building, client, whole);
    await announce(deployer, client, flags, shell, {
      own: true,
      begun,
      facts: { ...ready, localJoinToken: undefined, dataDir, pids: mesh.pids },
    });
    if (flags.reload === true) void deployer.reload(client, whole);
    return await mesh.stay(stop);
  } finally {
    progress.clear();
    if (stop.aborted) note("Stopping: ingress, replicas, worker, coordinator. Ctrl-C again ends them at once.");
    await mesh.stop();
  }
}

async function beside(
  client: Client,
  deployer: Deployer,
  flags: RunFlags,
  shell: Shell,
  begun: number,
): Promise<number> {
  const { progress, stop, note } = shell;
  const names = deployer.names.join(", ");
  if (httpOf(flags) !== null)
    note(`A mesh runs already at ${client.address}: --http-host and --http-port have no effect on it.`);
  let leave = false;
  try {
    progress.show(`Building for the mesh at ${client.address}`);
    deployer.servicers = servicersOf((await client.status()).grpc_options);
    await deployer.deploy(await deployer.build(), client, false);
    if (flags.blocking === false) {
      leave = true;
      progress.clear();
      note(`Deployed ${names} to ${client.address}. See \`skein status\`.`);
      return EXIT.ok;
    }
    await announce(deployer, client, flags, shell, { own: false, begun, facts: {} });
    if (flags.reload === true) void deployer.reload(client, false);
    // A timer, and not only the signal's event: nothing else keeps this process once its connection to the mesh has been idle.
    while (!stop.aborted) await shell.sleep(LONGEST_SLEEP_MS);
    throw new Interrupted();
  } finally {
    progress.clear();
    if (!leave && deployer.placed.size > 0) {
      if (stop.aborted) note(`Taking ${names} away; the mesh goes on.`);
      const last = client.until(shell.kill);
      for (const name of deployer.placed)
        await last.deleteApplication(name).catch((error: unknown) => note(explain(error).message));
    }
  }
}

/** The services that a mesh's gRPC listeners were set up for. */
function servicersOf(options: Readonly<Record<string, unknown>> | null): readonly string[] {
  const entries = options?.["grpc_servicer_functions"];
  return Array.isArray(entries) ? entries.filter((entry) => typeof entry === "string") : [];
}

/** Where the first deploy will have clients listened for; null when it says nowhere. */
function firstListener(target: Target, flags: RunFlags): { host: string; port: number } | null {
  const config = target.kind === "config" ? target.config : undefined;
  if (config?.proxy_location === "Disabled") return null;
  return {
    host: flags.httpHost ?? config?.http_options.host ?? "127.0.0.1",
    port: flags.httpPort ?? config?.http_options.port ?? HTTP_PORT,
  };
}

/** Follows the deploy with progress, then says how to use what runs. */
async function announce(
  deployer: Deployer,
  client: Client,
  flags: RunFlags,
  shell: Shell,
  how: { own: boolean; begun: number; facts: Readonly<Record<string, unknown>> },
): Promise<void> {
  const { progress, note, out, now } = shell;
  const { names } = deployer;
  const status = await follow(names, client, shell, (text) => progress.show(text));
  progress.clear();
  const elapsedS = (now() - how.begun) / 1000;
  if (flags.jsonReady === true) {
    const urls = Object.fromEntries(names.map((name) => [name, urlOf(status, name) ?? null]));
    out(`${JSON.stringify({ ...how.facts, operatorsUrl: client.address, urls, elapsedS })}\n`);
  } else
    note(
      servingBlock({
        status,
        names,
        statusPage: client.statusPage,
        own: how.own,
        body: flags.tryBody ?? null,
        elapsedS,
      }),
    );
}
