/** `skein worker join`: this machine (or a headless browser on it) becomes one more worker of a mesh, until Ctrl-C. */
import { hostname } from "node:os";
import { mkdir } from "node:fs/promises";
import { isExposed, isLoopback, pinned, readAddress, readJoinAddress } from "../../protocol/address.ts";
import { EXIT } from "../../protocol/errors.ts";
import type { AgentReady } from "../../protocol/local.ts";
import { addressTowards } from "../../protocol/node/own-addresses.ts";
import { dataDirOf } from "../connect.ts";
import { CommandFailed, Interrupted } from "../failure.ts";
import { LOOPBACK, workerOptions, type IngressPlace, type WorkerFlags } from "../mesh/options.ts";
import { launchAgent } from "../mesh/programs.ts";
import { Supervisor, supervisorIo, type Life } from "../mesh/supervisor.ts";
import type { Shell } from "../shell.ts";

/** As in mesh.ts: replicas drain. */
const WORKER_STOP_MS = 30_000;

export interface JoinFlags extends WorkerFlags {
  readonly token?: string;
  readonly browser?: boolean;
  /** Name of the machine that this worker is on; workers of one host share an ingress. Unset: found out. */
  readonly host?: string;
  /** No listener of its own: for a machine that nobody can dial. */
  readonly dialOut?: boolean;
  /** Plain connections to another machine. */
  readonly insecure?: boolean;
  readonly dataDir?: string;
  readonly jsonReady?: boolean;
}

export async function join(urls: readonly string[], flags: JoinFlags, shell: Shell): Promise<number> {
  const { meshUrls, token } = credentials(urls, flags, shell);
  const dataDir = dataDirOf(flags, shell);
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const options = workerOptions(flags, { dataDir, machine: hostname() }, await ownIngress(meshUrls, flags));
  const agent = {
    ...options,
    meshUrls,
    joinToken: token,
    hostId: flags.host ?? null,
    ingressMesh: { ...options.ingressMesh, disabled: flags.dialOut ?? false },
  };
  const launch = (): Life<AgentReady> => launchAgent(agent, flags.browser === true ? "browser" : "agent");
  const worker = new Supervisor("The worker", launch, supervisorIo(shell));
  shell.kill.addEventListener("abort", () => worker.kill(), { once: true });
  const stopped = new Promise<never>((_, reject) =>
    shell.stop.addEventListener("abort", () => reject(new Interrupted()), { once: true }),
  );
  stopped.catch(() => {});
  try {
    shell.progress.show(`Joining ${readAddress(meshUrls[0] ?? "").url}`);
    const ready = await Promise.race([worker.start(), stopped]);
    shell.progress.clear();
    const { cpus, gpus, providers, adapter, kind, name } = ready.capabilities;
    if (flags.jsonReady === true) shell.out(`${JSON.stringify({ ...ready, pid: worker.pid })}\n`);
    else
      shell.note(
        `Joined as ${name} (${kind}, ${cpus} CPUs, ${gpus} GPUs${adapter === null ? "" : `: ${adapter}`}; ${providers.join(", ") || "no provider"}). Ctrl-C leaves.`,
      );
    const reason = await Promise.race([worker.gaveUp, stopped]);
    throw new CommandFailed(EXIT.failed, `The worker can't go on: ${reason} See the logs in ${dataDir}/logs.`);
  } finally {
    shell.progress.clear();
    if (shell.stop.aborted)
      shell.note("Leaving: replicas finish what they have in hand. Ctrl-C again ends them at once.");
    await worker.stop(WORKER_STOP_MS);
  }
}

/**
 * The token comes from `--token`, `SKEIN_JOIN_TOKEN` or the fragment of a join link; never from a query, which servers log. The link's fingerprint
 * holds for every URL: they are of one mesh.
 */
function credentials(urls: readonly string[], flags: JoinFlags, shell: Shell): { meshUrls: string[]; token: string } {
  const places = urls.map(readJoinAddress);
  const fingerprint = places.find((place) => place.fingerprint !== null)?.fingerprint ?? null;
  const token = flags.token ?? shell.env["SKEIN_JOIN_TOKEN"] ?? places.find((place) => place.token !== null)?.token;
  const exposed = places.find(({ url }) => isExposed(url));
  if (exposed !== undefined && flags.insecure !== true)
    throw new CommandFailed(
      EXIT.usage,
      `${exposed.url} is without encryption: everyone on the way could read the join token. Use the https:// link that \`skein join-token create\` prints, or allow it with --insecure.`,
    );
  if (exposed !== undefined)
    shell.note(
      `Warning: --insecure. What goes to ${exposed.url} is readable on the way: tokens, requests and answers.`,
    );
  if (token === undefined || token === null || token === "")
    throw new CommandFailed(
      EXIT.usage,
      "No join token: give --token, set SKEIN_JOIN_TOKEN, or use the whole join link. On the coordinator's machine `skein join-token create` prints one.",
    );
  return { meshUrls: places.map(({ url }) => pinned(url, url.startsWith("https:") ? fingerprint : null)), token };
}

/** Others reach this machine's ingress by the address that it has on its way to the mesh. */
async function ownIngress(meshUrls: readonly string[], flags: JoinFlags): Promise<IngressPlace> {
  const { hostname: host, port } = new URL(meshUrls[0] ?? "");
  const address = flags.dialOut === true || isLoopback(host) ? null : await addressTowards(host, Number(port) || 443);
  return address === null ? { host: LOOPBACK, names: [] } : { host: address, names: [address] };
}
