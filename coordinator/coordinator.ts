/**
 * The coordinator, put together: store, loop, sessions, two listeners. Time, chance and the host's facts come in as arguments.
 */
import { existsSync, mkdirSync, writeFileSync, readFileSync } from "node:fs";
import type { Server } from "node:http";
import { join } from "node:path";
import { createAdaptorServer } from "@hono/node-server";
import { createServer as createTlsServer } from "node:https";
import { endpoint, pinned } from "../protocol/address.ts";
import type { HttpOptions } from "../protocol/config.ts";
import { httpOptionsSchema } from "../protocol/config.ts";
import { EXIT, SkeinError } from "../protocol/errors.ts";
import type { HostId } from "../protocol/ids.ts";
import { CALLER_TICKET_LIFETIME_MS, DIAL_TIMEOUT_MS, MIB, RECOVERY_MS } from "../protocol/limits.ts";
import { ingressAddresses } from "./project.ts";
import type { CoordinatorOptions, CoordinatorReady, FoundModel, ModelRefusal } from "../protocol/local.ts";
import { isLoopbackHost } from "./api/guard.ts";
import { ApiKeys } from "./api-keys.ts";
import { LogReaders } from "./api/logs.ts";
import { operatorApi } from "./api/operators.ts";
import { sweepBlobs } from "./blob-sweep.ts";
import { FolderBlobs } from "./blobs.ts";
import { Builds, type Build } from "./builds.ts";
import { loadSigner, newSecret, readOrCreate } from "./keys.ts";
import { listen } from "./listen.ts";
import { Loop } from "./loop.ts";
import { meshHttp, type PageFolder } from "./mesh/http.ts";
import { MeshModels } from "./mesh/models.ts";
import { meshUpgrade } from "./mesh/upgrade.ts";
import { coordinatorMetrics } from "./metrics.ts";
import { deploymentsAtStart } from "./operators.ts";
import { Service, type After } from "./service.ts";
import { Sessions, type Gate } from "./sessions.ts";
import { initialState, type DesiredState } from "./state.ts";
import { DesiredStore } from "./store/desired.ts";
import { SqliteStore } from "./store/sqlite.ts";
import { advertisedAddresses, meshTls, StartFailed } from "./tls.ts";
import { JoinTokens } from "./tokens.ts";

/** How often time is looked at, ms: heartbeats, resends, autoscaling. What happens is acted on at once. */
const TICK_MS = 250;
/** How often blobs that nothing refers to are looked for, ms. */
const SWEEP_MS = 60_000;

const after: After = (ms, call) => {
  const timer = setTimeout(call, ms);
  return () => clearTimeout(timer);
};

export interface Surroundings {
  now(): number;
  random(): number;
  readonly pid: number;
  readonly version: string;
  /** Addresses of this machine that others can reach, for a mesh that listens on all of them. */
  addresses(): readonly string[];
  readonly build: Build;
  /** The files of a model on this machine, fetched if needed; or why it can't be had. */
  readonly locateModel: (name: string) => Promise<FoundModel | ModelRefusal>;
  readonly pageFolder: PageFolder;
  log(level: "info" | "warn" | "error", message: string, cause?: unknown): void;
  /** An operator asked for the end of the mesh. */
  shutdown(): void;
}

export interface Coordinator {
  readonly ready: CoordinatorReady;
  readonly loop: Loop;
  stop(): Promise<void>;
}

function checkOptions(options: CoordinatorOptions): void {
  if (options.insecureLocalApi && !isLoopbackHost(options.operators.host))
    throw new StartFailed(
      EXIT.usage,
      `--insecure-local-api is for loopback only, but the operators' API would listen on ${options.operators.host}. Leave one of the two out.`,
    );
}

export async function startCoordinator(options: CoordinatorOptions, around: Surroundings): Promise<Coordinator> {
  checkOptions(options);
  const folder = join(options.dataDir, "coordinator");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const tls = await meshTls(options.mesh, folder, around.now());
  const store = new SqliteStore(join(folder, "state.db"));
  const { desired: stored, others, term, stored: saved } = await DesiredStore.open(store, options);
  const desired = atStart(stored, options);
  if (desired !== stored) await saved.save(desired);
  const signer = loadSigner(folder);
  const adminTokenFile = join(options.dataDir, "admin-token");
  const adminToken = readOrCreate(adminTokenFile, newSecret);
  const hostId = hostIdOf(options.dataDir, around.random);
  const tokens = await JoinTokens.open(store, options.requireApproval);
  const localJoinToken = tokens.local(hostId);
  const blobs = new FolderBlobs(join(folder, "blobs"), () => around.now());
  mkdirSync(blobs.folder, { recursive: true, mode: 0o700 });

  /** By the token of the first time, later by a ticket: who only says that it is on this host has not shown it. */
  const isOwn = (credential: string): boolean => {
    const ticket = signer.verify(credential, around.now());
    return tokens.isLocal(credential) || (ticket?.use === "worker" && ticket.host === hostId);
  };
  const gate: Gate = {
    kid: signer.kid,
    keys: signer.keys,
    sign: (claims) => signer.sign(claims),
    ticket: (text) => signer.verify(text, around.now()),
    isGood: (token, host) => tokens.isGood(token, host, around.now()),
    redeem: (token, host) => tokens.redeem(token, host, around.now()),
    approval: (worker, join) =>
      tokens.approval(worker, { host: join.host, name: join.capabilities?.name ?? "", own: isOwn(join.credential) }),
  };
  /** Addresses, with fingerprints where they are needed. */
  let meshUrls: readonly string[] = [];
  const sessions: Sessions = new Sessions(
    () => loop,
    gate,
    () => around.now(),
  );
  const start = {
    term,
    random: Math.floor(around.random() * 2 ** 32),
    headHost: hostId as HostId,
    desired,
    nowMs: around.now(),
    recoveryMs: RECOVERY_MS,
  };
  const builds = new Builds(
    around.build,
    { appDir: options.appDir, blobs: blobs.folder },
    (event) =>
      void loop
        .dispatch(event)
        .catch((error: unknown) => around.log("error", "A build's result could not be stored.", error)),
  );
  const relays = (ingress: string): string[] =>
    meshUrls.map((url) => endpoint(url, "ws", `/relay/${encodeURIComponent(ingress)}`));
  const loop: Loop = new Loop(
    { ...initialState(start), deployments: deploymentsAtStart(desired) },
    {
      now: () => around.now(),
      send: (peer, message) => sessions.send(peer, message),
      sign: (claims) => signer.sign(claims),
      kid: signer.kid,
      keys: signer.keys,
      save: (next) => saved.save(next),
      relays,
      build: (app, generation, config, servicers) => builds.start(app, generation, config, servicers),
      problem: (message, cause) => around.log("error", message, cause),
    },
  );
  const logs = new LogReaders(loop, (worker, message) => sessions.ask(worker, message), after);

  const operators = createAdaptorServer({
    overrideGlobalObjects: false,
    fetch: operatorApi({
      service: new Service(loop, blobs, () => around.now(), after),
      tokens,
      keys: new ApiKeys(loop, () => around.now()),
      logs,
      adminToken,
      insecure: options.insecureLocalApi,
      listensOn: options.operators.host,
      info: () => ({ pid: around.pid, startedAtMs: start.nowMs, revision: loop.revision }),
      metrics: coordinatorMetrics(
        () => loop,
        () => sessions.size,
        (worker, replica) => sessions.enginesOf(worker, replica),
      ),
      meshUrls: () => meshUrls,
      caller: () => ({
        ticket: signer.sign({
          use: "caller",
          kid: signer.kid,
          notAfter: around.now() + CALLER_TICKET_LIFETIME_MS,
        }),
        ingresses: ingressAddresses(loop.state, relays),
      }),
      shutdown: () => around.shutdown(),
      version: around.version,
      now: () => around.now(),
    }).fetch,
  }) as Server;
  const guardedBy = { listensOn: options.mesh.host, advertised: () => meshUrls };
  const meshFetch = meshHttp({
    gate,
    blobs,
    models: new MeshModels(around.locateModel),
    hasReplica: (id) => Object.values(loop.state.replicas).some((replica) => replica.worker === id),
    pageFolder: around.pageFolder,
    ...guardedBy,
  }).fetch;
  const mesh = createAdaptorServer({
    overrideGlobalObjects: false,
    fetch: meshFetch,
    ...(tls === null
      ? {}
      : {
          createServer: createTlsServer,
          serverOptions: { cert: tls.cert, key: tls.key, handshakeTimeout: DIAL_TIMEOUT_MS },
        }),
  }) as Server;
  mesh.on(
    "upgrade",
    meshUpgrade({ sessions, gate, logs, ingressUrl: (id) => ingressUrl(loop, id, hostId), ...guardedBy }),
  );

  const closing = async (): Promise<void> => {
    clearInterval(timer);
    clearInterval(sweeper);
    sessions.closeAll();
    for (const server of [operators, mesh]) {
      server.close();
      server.closeAllConnections();
    }
    store.close();
    await Promise.resolve();
  };
  const timer = setInterval(() => {
    sessions.tick();
    void loop.tick().catch((error: unknown) => around.log("error", "A plan could not be stored.", error));
  }, TICK_MS);
  const sweep = async (): Promise<void> => {
    const freed = await sweepBlobs(blobs, loop.state, others, around.now());
    if (freed > 0) around.log("info", `${Math.ceil(freed / MIB)} MiB of bundles that nothing refers to were deleted.`);
  };
  const sweeper = setInterval(
    () => void sweep().catch((error: unknown) => around.log("warn", "Old bundles could not be deleted.", error)),
    SWEEP_MS,
  );
  try {
    const operatorsPort = await listen(operators, options.operators, "the operators' API", "--dashboard-port");
    const meshPort = await listen(mesh, options.mesh, "the mesh", "--mesh-port");
    const scheme = tls === null ? "http" : "https";
    meshUrls = advertisedAddresses(advertised(options, scheme, meshPort, around.addresses()), tls);
    const operatorsUrl = `http://${urlHost(options.operators.host)}:${operatorsPort}`;
    const ready: CoordinatorReady = {
      operatorsUrl,
      meshUrl: pinned(`${scheme}://${urlHost(options.mesh.host)}:${meshPort}`, tls?.fingerprint ?? null),
      adminTokenFile,
      localJoinToken,
      hostId,
    };
    around.log("info", `Term ${term}. Operators at ${operatorsUrl}, mesh at ${meshUrls.join(", ")}.`);
    await loop.tick();
    return { ready, loop, stop: closing };
  } catch (error) {
    await closing();
    throw error;
  }
}

/** Listeners that the parent asked for stay whatever is deployed. */
function atStart(desired: DesiredState, options: CoordinatorOptions): DesiredState {
  if (options.http === null || desired.options.http !== null) return desired;
  const http: HttpOptions = httpOptionsSchema.parse(options.http);
  return { ...desired, options: { ...desired.options, http, pinned: true } };
}

/** One id per data directory, shared with the worker of this machine: it runs this coordinator's ingress. */
function hostIdOf(dataDir: string, random: () => number): string {
  const file = join(dataDir, "host-id");
  const hex = (): string =>
    Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, "0");
  if (!existsSync(file)) {
    try {
      writeFileSync(file, `host-${hex()}${hex()}${hex()}${hex()}\n`, { flag: "wx" });
    } catch (error) {
      if (!existsSync(file)) throw error;
    }
  }
  return readFileSync(file, "utf8").trim();
}

const urlHost = (host: string): string =>
  host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;

function advertised(options: CoordinatorOptions, scheme: string, port: number, addresses: readonly string[]): string[] {
  if (options.mesh.advertise.length > 0)
    return options.mesh.advertise.map((url) => url.replace(/^ws/, "http").replace(/\/+$/, ""));
  const hosts =
    options.mesh.host === "0.0.0.0" || options.mesh.host === "::" ? [...addresses, "127.0.0.1"] : [options.mesh.host];
  return hosts.map((host) => `${scheme}://${urlHost(host)}:${port}`);
}

function ingressUrl(loop: Loop, id: string, hostId: string): string | null {
  const holder = Object.values(loop.state.workers).find((w) => w.ingress?.ingress === id);
  const urls = holder?.ingress?.urls ?? [];
  const own = holder?.host === hostId;
  return urls.find((url) => own || !isLoopbackHost(URL.parse(url)?.hostname ?? "localhost")) ?? null;
}

/** One sentence and an exit code for whatever keeps the coordinator from starting. */
export function startProblem(error: unknown): { exit: number; message: string } {
  if (error instanceof StartFailed) return { exit: error.exit, message: error.message };
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOSPC")
    return {
      exit: EXIT.failed,
      message:
        "The disk is full: the coordinator can't store its state. Free some space, or choose another data directory with SKEIN_DATA_DIR.",
    };
  if (code === "EACCES" || code === "EROFS")
    return {
      exit: EXIT.notAllowed,
      message: `The data directory can't be written: ${(error as Error).message}. Choose another with SKEIN_DATA_DIR.`,
    };
  if (error instanceof SkeinError) return { exit: EXIT.failed, message: error.message };
  return {
    exit: EXIT.failed,
    message: `The coordinator could not start: ${error instanceof Error ? error.message : String(error)}`,
  };
}
