/** A coordinator's mesh port as an agent's process needs it: control link, blobs, readers of logs. Played by hand. */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer, type WebSocket } from "ws";
import { canonicalJson, sha256Hex, type Manifest } from "../../../protocol/artefact.ts";
import {
  parseToCoordinator,
  type FromCoordinator,
  type Join,
  type ToCoordinator,
  type WorkerReport,
} from "../../../protocol/control.ts";

export class FakeMesh {
  readonly joins: Join[] = [];
  readonly reports: WorkerReport[] = [];
  readonly blobs = new Map<string, Uint8Array>();
  readonly blobRequests: { path: string; authorization: string }[] = [];
  readonly logs: { reader: string; authorization: string; text: string }[] = [];
  refuse: { code: string; message: string } | null = null;
  left = false;
  #socket: WebSocket | null = null;
  readonly #server = createServer((request, response) => {
    this.blobRequests.push({ path: request.url ?? "", authorization: request.headers.authorization ?? "" });
    const blob = this.blobs.get((request.url ?? "").replace("/blobs/", ""));
    response.writeHead(blob === undefined ? 404 : 200).end(blob);
  });
  readonly #sockets = new WebSocketServer({ noServer: true });

  async start(): Promise<string> {
    this.#server.on("upgrade", (request: IncomingMessage, socket, head) => {
      this.#sockets.handleUpgrade(request, socket, head, (ws) =>
        request.url === "/control" ? this.#control(ws) : this.#log(ws, request),
      );
    });
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Stores an artefact with one bundle; returns its name. */
  async addArtefact(): Promise<string> {
    const bundle = new TextEncoder().encode("export const app = 1;\n");
    const node = await sha256Hex(bundle);
    const hash = "0".repeat(64);
    const manifest: Manifest = {
      schema: 1,
      importPath: "x:app",
      args: {},
      export: "app",
      bundles: { node, browser: null },
      assets: {},
      graph: {
        hash,
        ingress: "D",
        deployments: [{ name: "D", options: {}, callees: [], reconfigurable: false, usesEngine: false }],
      },
    };
    const text = new TextEncoder().encode(canonicalJson(manifest));
    const artefact = await sha256Hex(text);
    this.blobs.set(node, bundle).set(artefact, text);
    return artefact;
  }

  say(message: FromCoordinator): void {
    this.#socket?.send(JSON.stringify(message));
  }
  drop(): void {
    this.#socket?.terminate();
  }
  async stop(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #control(ws: WebSocket): void {
    this.#socket = ws;
    const ping = setInterval(() => ws.send('{"type":"ping"}'), 1_000);
    ws.on("close", () => clearInterval(ping));
    ws.on("error", () => {});
    ws.on("message", (data) => this.#heard(parseToCoordinator(String(data))));
  }

  #heard(message: ToCoordinator): void {
    if (message.type === "join") {
      this.joins.push(message);
      if (this.refuse !== null) this.say({ type: "refused", ...this.refuse });
      else this.say({ type: "welcome", ticket: "the.ticket", term: 1, timeMs: Date.now(), keys: [] });
    } else if (message.type === "report") this.reports.push(message);
    else if (message.type === "leave") this.left = true;
  }

  #log(ws: WebSocket, request: IncomingMessage): void {
    const log = {
      reader: (request.url ?? "").replace("/logs/", ""),
      authorization: request.headers.authorization ?? "",
      text: "",
    };
    this.logs.push(log);
    ws.on("message", (data) => void (log.text += String(data)));
  }
}

/** Until `met` gives something. Real processes on a busy machine: the margin is wide, the wait as short as can be. */
export async function eventually<T>(
  met: () => T | undefined | false | null,
  what: string,
  timeoutMs = 60_000,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const found = met();
    if (found !== undefined && found !== false && found !== null) return found;
    if (Date.now() > end) throw new Error(`This has not come about within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
