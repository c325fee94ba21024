/** The agent's platform in Node: real clock, chance and sockets; children are processes; blobs and models lie on the disk. */
import { mkdirSync, realpathSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { AgentOptions } from "../../protocol/local.ts";
import type { WrongKey } from "../../protocol/node/dial.ts";
import type { AgentPlatform } from "../agent/platform.ts";
import { BlobCache } from "./blob-cache.ts";
import { connectControl, socketUrl } from "./control-socket.ts";
import type { WorkerHome } from "./identity.ts";
import { INGRESS_PROGRAM, IngressStarter } from "./ingress-process.ts";
import { LOG_FLUSH_MS } from "./limits.ts";
import { LogFolder } from "./log-folder.ts";
import { sendLog } from "./log-sender.ts";
import { ModelStore } from "./model-store.ts";
import { REPLICA_PROGRAM, startReplicaProcess } from "./replica-process.ts";

export interface NodePlace {
  readonly options: AgentOptions;
  readonly hostId: string;
  readonly home: WorkerHome;
  /** Of the mesh port, with fingerprints. */
  readonly origins: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Somebody else answered at the mesh's address. */
  readonly onWrongKey?: (error: WrongKey) => void;
  /** Tests' fakes. */
  readonly replicaProgram?: string;
  readonly ingressProgram?: string;
}

export function nodePlatform(place: NodePlace): AgentPlatform {
  const { options, home, origins } = place;
  mkdirSync(options.dataDir, { recursive: true });
  // Permission flags compare real paths.
  const dataDir = realpathSync(options.dataDir);
  const scratch = join(realpathSync(home.folder), "scratch");
  // What an earlier life left: this folder is ours alone.
  rmSync(scratch, { recursive: true, force: true });
  const logs = new LogFolder(join(home.folder, "logs"), {
    time: () => Date.now(),
    soon: (callback) => void setTimeout(callback, LOG_FLUSH_MS),
  });
  const blobs = new BlobCache(join(dataDir, "bundles"), origins);
  const models = new ModelStore(dataDir);
  const compileCache = join(dataDir, "cache", "compile");
  mkdirSync(compileCache, { recursive: true, mode: 0o700 });
  const { disabled, ...listener } = options.ingressMesh;
  const ingress = new IngressStarter(
    {
      dataDir: home.folder,
      host: place.hostId,
      coordinatorUrls: origins,
      mesh: { ...listener, secure: origins[0]?.startsWith("https:") ?? false },
      logLevel: options.logLevel,
    },
    {
      program: place.ingressProgram ?? INGRESS_PROGRAM,
      environment: { ...place.environment, NODE_COMPILE_CACHE: compileCache },
    },
  );
  let started = 0;
  return {
    now: () => performance.timeOrigin + performance.now(),
    random: () => Math.random(),
    after(ms, callback) {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
    connect: (url, events) => connectControl(url, events, place.onWrongKey),
    fetchManifest: (artefact, ticket) => blobs.manifest(artefact, ticket),
    fetchBundle: (manifest, ticket) => blobs.path(manifest.bundles.node, "mjs", ticket),
    locateModel: (name, provider, _ticket, onProgress, slotLength) =>
      models.locate(name, provider, onProgress, slotLength),
    startReplica: (replica, events) =>
      startReplicaProcess(replica, events, {
        program: place.replicaProgram ?? REPLICA_PROGRAM,
        environment: place.environment,
        read: [blobs.folder, models.folder],
        scratch: join(scratch, String((started += 1))),
        compileCache,
        logs,
      }),
    startIngress: disabled ? null : (spec, events) => ingress.start(spec, events),
    sendLog: (request, ticket) =>
      sendLog(socketUrl(origins[0] ?? "", `/logs/${encodeURIComponent(request.reader)}`), ticket, request, logs),
    keepTicket: (ticket) => home.keepTicket(ticket),
  };
}
