/** More clients that stop reading than an ingress has room for: what it holds stays under its bound, who reads notices nothing. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { BACKLOG_MAX, STREAM_WINDOW } from "../../protocol/limits.ts";
import { MIB, residentOf } from "./memory.ts";
import { eventually, SystemMesh } from "./mesh.ts";

/**
 * Enough for the bound however fast they come: half of it fills with whole windows, then each gets a chunk at a time (48 KiB of these),
 * so that 3,300 of them reach it. What the kernel takes for a reader isn't held by the ingress.
 */
const READERS = 4_000;
/** Beside what is held for them: 4,000 connections with their requests (some 90 KiB each), and what isn't collected yet, bytes. */
const REST = 576 * MIB;

/** Thousands of connections on two busy cores, ms. */
const PATIENCE_MS = 120_000;

/**
 * Clients with the small segments and buffers of a network, which Node can't set: on loopback the kernel would take megabytes for each of
 * them, and the ingress would hold nothing.
 */
const CLIENTS = `
import socket, sys
host, port, count, path = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
clients = []
for _ in range(count):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    client.connect((host, port))
    client.sendall(f"GET {path} HTTP/1.1\\r\\nhost: {host}:{port}\\r\\n\\r\\n".encode())
    clients.append(client)
sys.stdin.read()
`;

let mesh: SystemMesh;
let base: string;
let clients: ChildProcess | null = null;

beforeAll(async () => {
  const appDir = fileURLToPath(new URL("./apps", import.meta.url));
  mesh = await SystemMesh.start({ workers: 1, appDir, compiled: true });
  const load = { name: "Load", num_replicas: 1, max_ongoing_requests: READERS + 100 };
  await mesh.deploy([{ name: "load", import_path: "load:app", deployments: [load] }]);
  base = await mesh.clientUrl();
});
afterEach(() => clients?.kill());
afterAll(() => mesh?.stop());

interface Counts {
  readonly running: number;
  readonly started: number;
}
const counts = async (): Promise<Counts> => JSON.parse((await mesh.fetch("/counts", { base })).text) as Counts;

describe("an ingress with more stopped readers than it has room for", { timeout: 3 * PATIENCE_MS }, () => {
  it(`${READERS} of them: memory stays under the bound, some are cut off, a healthy client notices nothing`, async () => {
    const ingress = mesh.ingressPid();
    const before = residentOf(ingress);
    let highest = before;
    const watch = setInterval(() => (highest = Math.max(highest, residentOf(ingress))), 50);
    const { hostname, port } = new URL(base);
    clients = spawn("python3", ["-c", CLIENTS, hostname, port, String(READERS), "/endless?bytes=16384"], {
      stdio: ["pipe", "ignore", "inherit"],
    });
    await once(clients, "spawn");
    const { started } = await counts();
    await eventually(async () => (await counts()).started - started >= READERS, "all streams have begun", PATIENCE_MS);
    let running = READERS;
    await eventually(
      async () => {
        const before = running;
        await new Promise((resolve) => setTimeout(resolve, 2_000));
        ({ running } = await counts());
        return running < READERS && running === before;
      },
      "readers have been cut off, and no more of them",
      PATIENCE_MS,
    );
    // As many stay as there is room for.
    expect(running).toBeGreaterThanOrEqual(BACKLOG_MAX / STREAM_WINDOW);

    for (let i = 0; i < 50; i += 1) expect((await mesh.fetch(`/?id=${i}`, { base })).status).toBe(200);
    const lines = (await mesh.fetch("/stream?n=200&ms=1", { base })).text;
    expect(lines).toBe(Array.from({ length: 200 }, (_, i) => `${i}\n`).join(""));
    expect((await mesh.fetch("/download?mib=20", { base })).text).toHaveLength(20 * MIB);
    clearInterval(watch);
    expect((highest - before) / MIB).toBeLessThan((BACKLOG_MAX + REST) / MIB);

    // Nothing stays of those that leave.
    clients.kill();
    await eventually(async () => (await counts()).running === 0, "no generator runs any more");
  });
});
