/** `skein worker join`: this machine (or a headless browser on it) becomes one more worker of a mesh, until Ctrl-C. */
import { hostname } from "node:os";
import { mkdir } from "node:fs/promises";
import { EXIT } from "../../protocol/errors.ts";
import type { AgentReady } from "../../protocol/local.ts";
import { dataDirOf } from "../connect.ts";
import { CommandFailed, Interrupted } from "../failure.ts";
import { workerOptions, type WorkerFlags } from "../mesh/options.ts";
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
  readonly dataDir?: string;
  readonly jsonReady?: boolean;
}

export async function join(urls: readonly string[], flags: JoinFlags, shell: Shell): Promise<number> {
  const { meshUrls, token } = credentials(urls, flags, shell);
  const dataDir = dataDirOf(flags, shell);
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const options = workerOptions(flags, { dataDir, machine: hostname() });
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
    shell.progress.show(`Joining ${meshUrls[0]}`);
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

/** The token comes from `--token`, `SKEIN_JOIN_TOKEN` or the fragment of a join link; never from a query, which servers log. */
function credentials(urls: readonly string[], flags: JoinFlags, shell: Shell): { meshUrls: string[]; token: string } {
  let token = flags.token ?? shell.env["SKEIN_JOIN_TOKEN"];
  const meshUrls = urls.map((text) => {
    const url = URL.parse(text.includes("://") ? text : `http://${text}`);
    if (url === null || !/^(https?|wss?):$/.test(url.protocol))
      throw new CommandFailed(
        EXIT.usage,
        `Not an address of a mesh: "${text}". Expected a URL such as http://192.168.1.10:8266 (the mesh port, not the operators').`,
      );
    token ??= /^#(?:token=)?(.+)$/.exec(url.hash)?.[1];
    return url.origin === "null" ? `${url.protocol}//${url.host}` : url.origin;
  });
  if (token === undefined || token === "")
    throw new CommandFailed(
      EXIT.usage,
      "No join token: give --token, set SKEIN_JOIN_TOKEN, or use the whole join link. On the coordinator's machine `skein join-token create` prints one.",
    );
  return { meshUrls, token };
}
