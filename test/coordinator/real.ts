/** A coordinator with real listeners on free ports, in this process. */
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocket } from "ws";
import { startCoordinator, type Coordinator, type Surroundings } from "../../coordinator/coordinator.ts";
import type { CoordinatorOptions } from "../../protocol/local.ts";

export interface Real extends Coordinator {
  readonly admin: string;
  readonly dataDir: string;
  /** Calls the operators' API with the admin token (or other headers). */
  call(path: string, init?: RequestInit & { token?: string | null }): Promise<Response>;
  mesh(path: string, init?: RequestInit): Promise<Response>;
}

export async function startReal(
  options: Partial<CoordinatorOptions> = {},
  around: Partial<Surroundings> = {},
): Promise<Real> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), "skein-coordinator-"));
  const coordinator = await startCoordinator(
    {
      dataDir,
      appDir: dataDir,
      state: "mesh",
      again: false,
      insecureLocalApi: false,
      requireApproval: false,
      http: null,
      logLevel: "silent",
      operators: { host: "127.0.0.1", port: 0 },
      mesh: { host: "127.0.0.1", port: 0, advertise: [], insecure: false },
      ...options,
    },
    {
      now: () => Date.now(),
      random: Math.random,
      pid: 1,
      version: "test",
      addresses: () => [],
      pageFolder: null,
      build: () => Promise.reject(new Error("no module of that name")),
      locateModel: () => Promise.resolve({ code: "NOT_FOUND", message: "404: Not Found" }),
      log: () => {},
      shutdown: () => {},
      ...around,
    },
  );
  const admin = readFileSync(coordinator.ready.adminTokenFile, "utf8").trim();
  return {
    ...coordinator,
    admin,
    dataDir,
    call: (path, { token = admin, ...init } = {}) =>
      fetch(`${coordinator.ready.operatorsUrl}${path}`, {
        ...init,
        headers: {
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...(init.headers as Record<string, string> | undefined),
        },
      }),
    mesh: (path, init) => fetch(`${coordinator.ready.meshUrl}${path}`, init),
  };
}

/** A control connection that keeps what it hears, and answers pings: the coordinator gives up who is silent for seconds. */
export class Peer {
  readonly socket: WebSocket;
  readonly heard: { type: string; [key: string]: unknown }[] = [];
  readonly closed: Promise<number>;
  private readonly waiting: (() => void)[] = [];

  constructor(meshUrl: string, path = "/control", headers: Record<string, string> = {}) {
    this.socket = new WebSocket(`${meshUrl.replace(/^http/, "ws")}${path}`, { headers });
    this.closed = new Promise((resolve) => this.socket.on("close", (code) => resolve(code)));
    this.socket.on("error", () => {});
    this.socket.on("message", (data) => {
      const message = JSON.parse(String(data)) as { type: string };
      this.heard.push(message);
      if (message.type === "ping") this.send({ type: "pong" });
      this.waiting.splice(0).forEach((wake) => wake());
    });
  }

  open(): Promise<void> {
    return new Promise((resolve, reject) =>
      this.socket
        .once("open", resolve)
        .once("error", reject)
        .once("unexpected-response", (_q, r) => reject(new Error(String(r.statusCode)))),
    );
  }

  send(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  join(credential: string, more: Record<string, unknown> = {}): void {
    const capabilities = {
      cpus: 4,
      gpus: 0,
      memory: 1e9,
      resources: {},
      kind: "node",
      providers: [],
      adapter: null,
      platform: "test",
      name: "w",
    };
    this.send({
      type: "join",
      protocol: { min: 1, max: 1 },
      build: "test",
      role: "worker",
      credential,
      id: "w1",
      host: "h1",
      incarnation: 1,
      capabilities,
      ...more,
    });
  }

  /** The next message of this type, heard already or to come. */
  async next(type: string): Promise<{ type: string; [key: string]: unknown }> {
    for (;;) {
      const at = this.heard.findIndex((m) => m.type === type);
      if (at >= 0) return this.heard.splice(at, 1)[0]!;
      await Promise.race([
        new Promise<void>((wake) => this.waiting.push(wake)),
        this.closed.then((code) => Promise.reject(new Error(`closed with ${code} before "${type}"`))),
      ]);
    }
  }
}
