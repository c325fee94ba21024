/** `skein start`: a mesh without an application, until Ctrl-C. It keeps what was deployed to it before. */
import { hostname } from "node:os";
import { EXIT } from "../../protocol/errors.ts";
import { Client, readToken } from "../client.ts";
import { dataDirOf } from "../connect.ts";
import { CommandFailed } from "../failure.ts";
import { Mesh } from "../mesh/mesh.ts";
import { httpOf, meshOptions, portsOf, type MeshFlags } from "../mesh/options.ts";
import { requirePorts } from "../mesh/ports.ts";
import { readMeshRecord } from "../mesh/record.ts";
import type { Shell } from "../shell.ts";

export interface StartFlags extends MeshFlags {
  /** False: a coordinator alone, on a machine that shall not serve. */
  readonly worker?: boolean;
  readonly proxyLocation?: "EveryNode" | "HeadOnly" | "Disabled";
  readonly grpcPort?: number;
  readonly grpcServicerFunctions?: readonly string[];
  readonly jsonReady?: boolean;
}

const ALIVE_WITHIN_MS = 1_500;

export async function start(flags: StartFlags, shell: Shell): Promise<number> {
  const { progress, stop, note, out } = shell;
  const dataDir = dataDirOf(flags, shell);
  const record = await readMeshRecord(dataDir);
  if (record !== undefined && (await new Client(record.operatorsUrl, null, shell.fetch, stop).alive(ALIVE_WITHIN_MS)))
    throw new CommandFailed(
      EXIT.failed,
      `A mesh runs already at ${record.operatorsUrl} with the data directory ${dataDir}. Use it, stop it (process ${record.pid}), or choose another --data-dir.`,
    );
  const options = meshOptions(flags, {
    dataDir,
    cwd: shell.cwd,
    machine: hostname(),
    state: "mesh",
    worker: flags.worker !== false,
  });
  const http = httpOf(flags);
  await requirePorts(portsOf(options, http === null ? null : { host: http.host ?? "127.0.0.1", port: http.port ?? 0 }));
  if (flags.insecure === true && flags.cert === undefined)
    note(
      "Warning: --insecure. Between machines everything is readable on the way: tokens, code, requests and answers.",
    );
  const mesh = new Mesh(options, shell);
  try {
    progress.show("Starting coordinator and worker");
    const ready = await mesh.start(stop);
    const client = new Client(ready.operatorsUrl, await readToken(ready.adminTokenFile), shell.fetch, stop);
    await applyServeOptions(flags, client);
    progress.clear();
    if (flags.jsonReady === true)
      out(`${JSON.stringify({ ...ready, localJoinToken: undefined, dataDir, pids: mesh.pids })}\n`);
    else
      note(
        [
          "",
          "The mesh is up.",
          "",
          `  Status  ${client.statusPage}`,
          `  Deploy  skein run <module:export>   or   skein deploy <config.yaml>`,
          "  Join    skein join-token create   (prints the line to paste on the other machine)",
          "  Stop    Ctrl-C",
          "",
        ].join("\n"),
      );
    return await mesh.stay(stop);
  } finally {
    progress.clear();
    if (stop.aborted) note("Stopping: ingress, replicas, worker, coordinator. Ctrl-C again ends them at once.");
    await mesh.stop();
  }
}

/** Ray's `serve start` options that belong to the desired state: a deploy without applications, unless some are there already. */
async function applyServeOptions(flags: StartFlags, client: Client): Promise<void> {
  const grpc = {
    ...(flags.grpcPort === undefined ? {} : { port: flags.grpcPort }),
    ...(flags.grpcServicerFunctions === undefined ? {} : { grpc_servicer_functions: flags.grpcServicerFunctions }),
  };
  if (flags.proxyLocation === undefined && Object.keys(grpc).length === 0) return;
  if (Object.keys((await client.status()).applications).length > 0) return;
  const http = httpOf(flags);
  await client.deploy({
    applications: [],
    ...(flags.proxyLocation === undefined ? {} : { proxy_location: flags.proxyLocation }),
    ...(http === null ? {} : { http_options: http }),
    ...(Object.keys(grpc).length === 0 ? {} : { grpc_options: grpc }),
  });
}
