/**
 * A real mesh for system tests: coordinator and agents as processes on free ports of 127.0.0.1, with data directories of their own.
 * `stop` asserts that no process and no port is left. Every process of a mesh carries its folder in its environment: that is how it is found.
 */
import type { ChildProcess } from "node:child_process";
import { globSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { Agent as HttpAgent, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { AgentOptions, AgentReady, CoordinatorOptions, CoordinatorReady } from "../../protocol/local.ts";
import { childReady, spawnChild } from "../../protocol/node/parent.ts";
import type { RoutingTable } from "../../protocol/routes.ts";
import type { InstanceDetails, ReplicaDetails } from "../../protocol/status.ts";
import { compiledPrograms } from "./compiled.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const MARK = "SKEIN_TEST_MESH";
/** One cache for all tests: what a process compiles is the same in every mesh. */
const COMPILE_CACHE = join(tmpdir(), "skein-test-compile-cache");

/** A request that hangs is a failed one, not a test without an end, ms. */
const ANSWER_WITHIN_MS = 30_000;

/** A deploy may make sessions on a software GPU while other tests have the processors, ms. */
const DEPLOYED_WITHIN_MS = 150_000;

/** One process that the mesh's parent (here: the test) started. */
export interface Started<Ready> {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly ready: Ready;
  readonly exit: Promise<number | string>;
}

async function start<Options, Ready>(
  program: string,
  options: Options,
  folder: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Started<Ready>> {
  const verbose = process.env["SKEIN_TEST_OUTPUT"] !== undefined;
  const child = spawnChild(program, {
    output: verbose ? "inherit" : "ignore",
    env: { ...process.env, ...env, [MARK]: folder, NODE_COMPILE_CACHE: COMPILE_CACHE },
  });
  const exit = new Promise<number | string>((resolve) =>
    child.on("exit", (code, signal) => resolve(signal ?? code ?? 1)),
  );
  child.on("error", () => {});
  const ready = await childReady<Options, Ready>(child, options);
  return { child, pid: child.pid ?? 0, ready, exit };
}

export interface MeshSettings {
  readonly workers?: number;
  /** Folder of applications for a bare import_path. */
  readonly appDir?: string;
  /** What is special about the mesh port. */
  readonly mesh?: Partial<CoordinatorOptions["mesh"]>;
  /** What is special about the coordinator's environment. */
  readonly coordinatorEnv?: Readonly<Record<string, string>>;
  /** Run the compiled programs: what users run, for tests of memory and recovery. */
  readonly compiled?: boolean;
  /** What is special about the worker of this index. */
  readonly agent?: (
    index: number,
  ) => Partial<AgentOptions> & { readonly env?: Readonly<Record<string, string>>; readonly program?: string };
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

export class SystemMesh {
  readonly folder: string;
  readonly #settings: MeshSettings;
  readonly #program: (source: string) => string;
  coordinator!: Started<CoordinatorReady>;
  readonly agents: Started<AgentReady>[] = [];
  /** Ports that were seen, to be free at the end. */
  readonly #ports = new Set<number>();
  readonly #http = new HttpAgent({ keepAlive: true });

  private constructor(settings: MeshSettings, compiled: string | null) {
    this.#settings = settings;
    this.#program = (source) =>
      compiled === null ? join(ROOT, source) : join(compiled, source.replace(/\.ts$/, ".mjs"));
    this.folder = realpathSync(mkdtempSync(join(tmpdir(), "skein-mesh-")));
  }

  static async start(settings: MeshSettings = {}): Promise<SystemMesh> {
    const mesh = new SystemMesh(settings, settings.compiled === true ? await compiledPrograms() : null);
    try {
      await mesh.startCoordinator();
      for (let i = 0; i < (settings.workers ?? 1); i += 1) await mesh.startAgent(i);
      return mesh;
    } catch (error) {
      await mesh.stop().catch(() => {});
      throw error;
    }
  }

  /** Again, with what it had stored and on the ports that it had: what its parent does when it has died. */
  async startCoordinator(): Promise<void> {
    const before = this.coordinator as Started<CoordinatorReady> | undefined;
    const options: CoordinatorOptions = {
      dataDir: join(this.folder, "data"),
      operators: { host: "127.0.0.1", port: portOf(before?.ready.operatorsUrl) },
      mesh: {
        host: "127.0.0.1",
        port: portOf(before?.ready.meshUrl),
        advertise: [],
        insecure: false,
        ...this.#settings.mesh,
      },
      appDir: this.#settings.appDir ?? join(ROOT, "examples"),
      state: "mesh",
      again: before !== undefined,
      insecureLocalApi: false,
      requireApproval: false,
      http: null,
      logLevel: "warn",
    };
    this.coordinator = await start<CoordinatorOptions, CoordinatorReady>(
      this.#program("coordinator/main.ts"),
      options,
      this.folder,
      this.#settings.coordinatorEnv,
    );
    for (const url of [this.coordinator.ready.operatorsUrl, this.coordinator.ready.meshUrl])
      this.#ports.add(portOf(url));
  }

  /** Worker `index`; again, when it had been there before: the same worker. */
  async startAgent(index: number): Promise<Started<AgentReady>> {
    const { meshUrl, localJoinToken, hostId } = this.coordinator.ready;
    const { env, program = "worker/node/agent-main.ts", ...special } = this.#settings.agent?.(index) ?? {};
    const options: AgentOptions = {
      dataDir: join(this.folder, `worker-${index}`),
      meshUrls: [meshUrl],
      joinToken: localJoinToken,
      hostId,
      name: `worker-${index}`,
      allowSoftwareGpu: false,
      cpus: 4,
      gpus: 0,
      resources: {},
      device: "wasm",
      ingressMesh: { host: "127.0.0.1", port: 0, names: [], advertise: [], disabled: false },
      logLevel: "info",
      ...special,
    };
    const agent = await start<AgentOptions, AgentReady>(this.#program(program), options, this.folder, env);
    this.agents[index] = agent;
    return agent;
  }

  /** A request to the operators' API with the admin token. */
  async api(method: string, path: string, body?: unknown): Promise<Answer> {
    const token = readFileSync(this.coordinator.ready.adminTokenFile, "utf8").trim();
    return send(new URL(path, this.coordinator.ready.operatorsUrl), {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: body === undefined ? "" : JSON.stringify(body),
    });
  }

  async status(): Promise<InstanceDetails> {
    return JSON.parse((await this.api("GET", "/api/serve/applications/")).text) as InstanceDetails;
  }

  async replicas(): Promise<ReplicaDetails[]> {
    const { applications } = await this.status();
    return Object.values(applications).flatMap((app) => Object.values(app.deployments).flatMap((d) => d.replicas));
  }

  /** Deploys and waits until every application runs. Client listeners take any free port. */
  async deploy(applications: readonly object[], more: object = {}): Promise<void> {
    const answer = await this.api("PUT", "/api/serve/applications/", {
      http_options: { port: 0 },
      grpc_options: { port: 0 },
      applications,
      ...more,
    });
    if (answer.status !== 200) throw new Error(`The deploy was answered ${answer.status}: ${answer.text}`);
    await eventually(
      async () => {
        const { applications: apps } = await this.status();
        const failed = Object.values(apps).find((app) => app.status === "DEPLOY_FAILED");
        if (failed !== undefined)
          throw new Stop(`${failed.name} failed: ${failed.message} ${JSON.stringify(failed.deployments)}`);
        return (
          Object.keys(apps).length === applications.length &&
          Object.values(apps).every((app) => app.status === "RUNNING")
        );
      },
      "every application is RUNNING",
      DEPLOYED_WITHIN_MS,
    );
    await eventually(async () => (await this.clientUrl().catch(() => null)) !== null, "the client listener is there");
  }

  /** Where clients reach the applications. */
  async clientUrl(): Promise<string> {
    const { target_groups: groups } = await this.status();
    const target = groups.find((group) => group.protocol === "HTTP")?.targets[0];
    if (target === undefined) throw new Error("No ingress listens for clients.");
    this.#ports.add(target.port);
    return `http://127.0.0.1:${target.port}`;
  }

  /** One request to an application; connections are kept alive, as good clients do. */
  async fetch(
    path: string,
    options: { method?: string; headers?: Record<string, string>; body?: string; base?: string } = {},
  ): Promise<Answer> {
    return send(new URL(path, options.base ?? (await this.clientUrl())), {
      method: "GET",
      headers: {},
      body: "",
      ...options,
      agent: this.#http,
    });
  }

  /** JSON for an application, and its answer, which is JSON too. */
  async post(path: string, body: object) {
    const { status, text } = await this.fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    return { status, body: JSON.parse(text) };
  }

  /** Pids of all live processes of this mesh. */
  processes(): Map<number, string> {
    return processesOf(this.folder);
  }

  /** Time that a process has used, user and system, s. */
  cpuSeconds(pid: number): number {
    // Fields 14 and 15, counted behind the name in brackets, in hundredths.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** How many replicas the ingresses have on disk, for the day when they start again without a coordinator. */
  remembered(): number {
    const files = globSync(join(this.folder, "worker-*/**/ingress/*.json"));
    const tables = files.map(
      (file) => (JSON.parse(readFileSync(file, "utf8")) as { table: RoutingTable | null }).table,
    );
    return tables.flatMap((table) => table?.deployments ?? []).flatMap(({ replicas }) => replicas).length;
  }

  /** The pid of the ingress. */
  ingressPid(): number {
    const found = [...this.processes()].find(([, command]) => /ingress\/main\.m?[jt]s/.test(command));
    if (found === undefined) throw new Error("No ingress runs.");
    return found[0];
  }

  /** As its parent would: agents (ingress, replicas), then the coordinator. Asserts that nothing is left; deletes the folder. */
  async stop(): Promise<void> {
    this.#http.destroy();
    const members = [...this.agents, this.coordinator].filter((member) => member !== undefined);
    let unclean = "";
    for (const member of members) {
      if (member.child.connected) member.child.send({ type: "stop" }, () => {});
      const how = await Promise.race([member.exit, later(60_000, "still running 60 s after it was told to stop")]);
      if (how !== 0 && how !== "SIGKILL") unclean += `pid ${member.pid}: ${how}; `;
    }
    const left = await settled(() => this.processes());
    for (const pid of left.keys()) process.kill(pid, "SIGKILL");
    const open = [];
    for (const port of this.#ports) if (await listening(port)) open.push(port);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10 });
    if (left.size > 0 || open.length > 0 || unclean !== "")
      throw new Error(
        `A mesh left something: processes ${JSON.stringify([...left])}, ports ${JSON.stringify(open)}; ${unclean}`,
      );
  }
}

/** Ends `eventually` at once. */
class Stop extends Error {}

/** Until `met` is true. The wait is as short as can be, the margin wide: real processes on a busy machine. */
export async function eventually(
  met: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 60_000,
): Promise<void> {
  const end = Date.now() + timeoutMs;
  let last: unknown = null;
  for (;;) {
    try {
      if (await met()) return;
    } catch (error) {
      if (error instanceof Stop) throw error;
      last = error;
    }
    if (Date.now() > end)
      throw new Error(
        `This has not come about within ${timeoutMs} ms: ${what}${last instanceof Error ? ` (${last.message})` : ""}`,
      );
    await later(20, null);
  }
}

const later = <T>(ms: number, value: T): Promise<T> => new Promise((resolve) => setTimeout(() => resolve(value), ms));

const portOf = (url: string | undefined): number => (url === undefined ? 0 : Number(new URL(url).port));

function send(
  url: URL,
  options: { method: string; headers: Record<string, string>; body: string; agent?: HttpAgent },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
    const outgoing = request(
      url,
      { method: options.method, headers: options.headers, agent: options.agent ?? false, signal },
      (incoming) => {
        const parts: Buffer[] = [];
        incoming.on("data", (part: Buffer) => parts.push(part));
        incoming.on("end", () =>
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            text: Buffer.concat(parts).toString(),
          }),
        );
        incoming.on("error", reject);
      },
    );
    outgoing.on("error", reject);
    outgoing.end(options.body);
  });
}

/** Live processes (no zombies) whose environment names `folder`. Linux only, as the system tests are. */
export function processesOf(folder: string): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    try {
      if (!readFileSync(`/proc/${name}/environ`, "utf8").includes(folder)) continue;
      if (/^State:\s+[ZX]/m.test(readFileSync(`/proc/${name}/status`, "utf8"))) continue;
      found.set(Number(name), readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ").trim());
    } catch {
      // It ended meanwhile, or isn't ours to read.
    }
  }
  return found;
}

/** What is still there after a moment: the kernel takes a little to end killed processes. */
async function settled(left: () => Map<number, string>): Promise<Map<number, string>> {
  for (let attempt = 0; attempt < 600 && left().size > 0; attempt += 1) await later(50, null);
  return left();
}

function listening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
