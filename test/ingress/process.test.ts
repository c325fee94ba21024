/** The ingress as its agent starts it: a process with a coordinator's socket, spec changes, stop, death of the parent's channel. */
import { globSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { ChildProcess } from "node:child_process";
import { afterEach, beforeEach, expect, it } from "vitest";
import { WebSocketServer, type WebSocket } from "ws";
import { httpOptionsSchema, type HttpOptions } from "../../protocol/config.ts";
import type { IngressReport, Join } from "../../protocol/control.ts";
import type { FromIngress, IngressOptions, ToIngress } from "../../protocol/local.ts";
import { childReady, spawnChild } from "../../protocol/node/parent.ts";
import { generateKeys } from "../../protocol/ticket.ts";
import { table } from "./harness.ts";
import { until } from "./opened.ts";
import { raw } from "./running.ts";

let dataDir = "";
let coordinator: WebSocketServer;
let coordinatorPort = 0;
const joins: Join[] = [];
const children: ChildProcess[] = [];
const sockets: WebSocket[] = [];

beforeEach(async () => {
  joins.length = sockets.length = 0;
  dataDir = await mkdtemp(path.join(tmpdir(), "skein-ingress-"));
  const keys = await generateKeys("k1");
  coordinator = new WebSocketServer({ port: 0, host: "127.0.0.1", path: "/control" });
  coordinator.on("connection", (socket) => {
    sockets.push(socket);
    socket.on("message", (data) => {
      const message = JSON.parse(String(data)) as Join | { type: "stats" };
      if (message.type !== "join") return;
      joins.push(message);
      socket.send(
        JSON.stringify({ type: "welcome", ticket: "ticket-2", term: 1, timeMs: Date.now(), keys: [keys.publicKey] }),
      );
      socket.send(JSON.stringify({ type: "routes", table: table({ keys: [keys.publicKey] }) }));
    });
  });
  await new Promise((resolve) => coordinator.once("listening", resolve));
  coordinatorPort = (coordinator.address() as net.AddressInfo).port;
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const socket of sockets) socket.terminate();
  coordinator.close();
  await rm(dataDir, { recursive: true, force: true, maxRetries: 5 });
});

async function start(
  http: HttpOptions | null,
  meshPort = 0,
): Promise<{ child: ChildProcess; report: IngressReport; reports: IngressReport[] }> {
  const child = spawnChild(new URL("../../ingress/main.ts", import.meta.url), { output: "ignore" });
  children.push(child);
  const reports: IngressReport[] = [];
  child.on("message", (message: FromIngress) => {
    if (message.type === "report") reports.push(message.report);
  });
  const report = await childReady<IngressOptions, IngressReport>(child, {
    dataDir,
    host: "h",
    coordinatorUrls: [`http://127.0.0.1:${coordinatorPort}`],
    mesh: { host: "127.0.0.1", port: meshPort, names: [], advertise: ["ws://other/link"], secure: false },
    logLevel: "info",
    spec: { ingress: "i1", ticket: "ticket-1", http, grpc: null },
  });
  return { child, report, reports };
}
const tell = (child: ChildProcess, message: ToIngress): void => void child.send(message);
const exit = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once("exit", (code) => resolve(code)));
/** What it has on disk, which may take a slow disk its time. */
const remembered = (): { table: object | null; httpPort: number | null }[] =>
  globSync(path.join(dataDir, "ingress", "*.json")).map((file) => JSON.parse(readFileSync(file, "utf8")));
const health = (port: number): Promise<string> =>
  raw(port, "GET /-/healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");

it("joins with its ticket, opens client listeners when the spec says so, rejoins with its new ticket, stops in order", async () => {
  const { child, report, reports } = await start(null);
  expect(report).toMatchObject({ ingress: "i1", state: "ready", http: null, pid: child.pid });
  expect(report.urls).toEqual([expect.stringMatching(/^ws:\/\/127\.0\.0\.1:\d+\/link$/), "ws://other/link"]);
  await until(() => joins.length === 1);
  expect(joins[0]).toMatchObject({ role: "ingress", id: "i1", host: "h", credential: "ticket-1" });
  tell(child, {
    type: "spec",
    spec: { ingress: "i1", ticket: "ticket-3", http: httpOptionsSchema.parse({ port: 0 }), grpc: null },
  });
  await until(() => reports.some((r) => r.http !== null));
  const { port } = reports.at(-1)!.http!;
  expect(await health(port)).toMatch(/success$/);
  sockets[0]!.terminate();
  await until(() => joins.length === 2);
  expect(joins[1]!.credential).toBe("ticket-3");
  expect(await health(port)).toMatch(/success$/);
  const ended = exit(child);
  tell(child, { type: "stop", drainMs: 1000 });
  expect(await ended).toBe(0);
  await expect(health(port)).rejects.toThrow("ECONNREFUSED");
});

it("fails with one sentence when the mesh port is taken", async () => {
  const blocker = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => blocker.once("listening", resolve));
  const { port } = blocker.address() as net.AddressInfo;
  await expect(start(null, port)).rejects.toThrow(`Port ${port} on 127.0.0.1 is in use by another program`);
  blocker.close();
});

it("killed and started again, it serves on its ports without the coordinator", async () => {
  const http = httpOptionsSchema.parse({ port: 0 });
  const first = await start(http);
  const { port } = first.report.http!;
  for (let text = ""; !text.endsWith("success");) text = await health(port);
  await until(() => remembered().some(({ table: kept, httpPort }) => kept !== null && httpPort === port));
  for (const socket of sockets) socket.terminate();
  coordinator.close();
  const ended = exit(first.child);
  first.child.kill("SIGKILL");
  await ended;
  const second = await start(http);
  expect(second.report.http!.port).toBe(port);
  expect(second.report.urls).toEqual(first.report.urls);
  expect(await health(port)).toMatch(/success$/);
});
