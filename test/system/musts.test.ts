/** What the data plane must hold with real processes: stopped readers, large bodies, gone clients, idle connections. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { MemoryWatch, MIB } from "./memory.ts";
import { eventually, SystemMesh } from "./mesh.ts";

const APPS = fileURLToPath(new URL("./apps", import.meta.url));
const GROWTH_MAX_MIB = 100;
const LARGE_MIB = 200;

let mesh: SystemMesh;
let base: string;
const sockets: Socket[] = [];

interface Counts {
  readonly running: number;
  readonly started: number;
  readonly given: number;
}
const counts = async (): Promise<Counts> => JSON.parse((await mesh.fetch("/counts", { base })).text) as Counts;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A client that sends a request head and reads nothing. */
async function silentReader(path: string): Promise<Socket> {
  const { hostname, port } = new URL(base);
  const socket = connect(Number(port), hostname);
  sockets.push(socket);
  socket.on("error", () => {});
  socket.pause();
  await once(socket, "connect");
  socket.write(`GET ${path} HTTP/1.1\r\nhost: ${hostname}:${port}\r\n\r\n`);
  return socket;
}

/** A request whose answer is read piece by piece; one with a body is ended by the caller. */
const open = (
  path: string,
  method = "GET",
): { response: Promise<IncomingMessage>; outgoing: ReturnType<typeof request> } => {
  const outgoing = request(new URL(path, base), { method, agent: false });
  if (method === "GET") outgoing.end();
  return { outgoing, response: new Promise((resolve, reject) => outgoing.on("response", resolve).on("error", reject)) };
};

beforeAll(async () => {
  mesh = await SystemMesh.start({ workers: 1, appDir: APPS, compiled: true });
  await mesh.deploy([{ name: "load", import_path: "load:app", deployments: [{ name: "Load", num_replicas: 1 }] }]);
  base = await mesh.clientUrl();
  // What code, connections and buffers cost once is not growth.
  for (let i = 0; i < 20; i += 1)
    await Promise.all(Array.from({ length: 50 }, (_, j) => mesh.fetch(`/?id=${i}-${j}`, { base })));
  for (let i = 0; i < 3; i += 1) expect((await mesh.fetch("/download?mib=64", { base })).text).toHaveLength(64 * MIB);
});
afterAll(() => mesh?.stop());
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await eventually(async () => (await counts()).running === 0, "no generator runs any more");
});

/** Answers, a stream whose every line is there, and bulk, all over the same link. */
async function healthy(mib = 20): Promise<void> {
  for (let i = 0; i < 50; i += 1)
    expect(JSON.parse((await mesh.fetch(`/?id=${i}`, { base })).text)).toMatchObject({ id: String(i) });
  const lines = (await mesh.fetch("/stream?n=200&ms=1", { base })).text;
  expect(lines).toBe(Array.from({ length: 200 }, (_, i) => `${i}\n`).join(""));
  let read = 0;
  for await (const piece of await open(`/download?mib=${mib}`).response) read += (piece as Buffer).length;
  expect(read).toBe(mib * MIB);
}

describe("the data plane", () => {
  it("100 clients that stop reading endless streams: their generators stop, memory stays, a healthy client notices nothing", async () => {
    const watch = new MemoryWatch(mesh);
    // Buffers that nobody needs any more stay until there are 64 MiB of them, in each process that has ever moved bulk: V8's way, not a reader's cost.
    await healthy(LARGE_MIB);
    watch.warm();
    const before = await counts();
    await Promise.all(Array.from({ length: 100 }, () => silentReader("/endless")));
    await eventually(async () => (await counts()).started - before.started === 100, "all streams have begun");
    // They have stopped when no more is produced; what they gave until then fits windows, sockets and one piece each.
    let given = -1;
    await eventually(async () => {
      const now = (await counts()).given;
      const still = now === given;
      given = now;
      if (!still) await pause(1_000);
      return still;
    }, "all generators stand still");
    expect((await counts()).running).toBe(100);

    await healthy();
    expect(watch.stop()).toBeLessThan(GROWTH_MAX_MIB);
  });

  it(`a download of ${LARGE_MIB} MiB passes whole, with bounded memory`, async () => {
    const watch = new MemoryWatch(mesh);
    const hash = createHash("sha256");
    let read = 0;
    for await (const piece of await open(`/download?mib=${LARGE_MIB}`).response) {
      hash.update(piece as Buffer);
      read += (piece as Buffer).length;
    }
    expect(read).toBe(LARGE_MIB * MIB);
    const expected = createHash("sha256");
    for (let i = 0; i < LARGE_MIB * 16; i += 1) expected.update(Buffer.alloc(65_536, i % 251));
    expect(hash.digest("hex")).toBe(expected.digest("hex"));
    expect(watch.stop()).toBeLessThan(GROWTH_MAX_MIB);
  });

  it.each(["POST", "PUT"])(`an upload of ${LARGE_MIB} MiB by %s passes whole, with bounded memory`, async (method) => {
    const watch = new MemoryWatch(mesh);
    const expected = createHash("sha256");
    const { outgoing, response } = open("/upload", method);
    for (let i = 0; i < LARGE_MIB * 16; i += 1) {
      const piece = Buffer.alloc(65_536, i % 251);
      expected.update(piece);
      if (!outgoing.write(piece)) await once(outgoing, "drain");
    }
    outgoing.end();
    let text = "";
    for await (const piece of await response) text += String(piece);
    expect(JSON.parse(text)).toEqual({ size: LARGE_MIB * MIB, sha256: expected.digest("hex") });
    expect(watch.stop()).toBeLessThan(GROWTH_MAX_MIB);
  });

  it("the generator of a client that is gone stops", async () => {
    for (let round = 0; round < 5; round += 1) {
      const { outgoing, response } = open("/endless?bytes=100&ms=5");
      const incoming = await response;
      await once(incoming, "data");
      expect((await counts()).running).toBe(1);
      incoming.on("error", () => {});
      outgoing.destroy();
      // It would go on for ever.
      await eventually(async () => (await counts()).running === 0, "the generator has stopped");
    }
  });

  it("1,000 idle connections cost less than 100 MiB, and each still answers", async () => {
    const watch = new MemoryWatch(mesh);
    const { hostname, port } = new URL(base);
    const idle = await Promise.all(
      Array.from({ length: 1_000 }, async () => {
        const socket = connect(Number(port), hostname);
        sockets.push(socket);
        socket.on("error", () => {});
        await once(socket, "connect");
        return socket;
      }),
    );
    await pause(1_000);
    expect((await mesh.fetch("/?id=new", { base })).status).toBe(200);
    expect(watch.stop()).toBeLessThan(GROWTH_MAX_MIB);
    const answers = idle.map(async (socket, i) => {
      socket.write(`GET /?id=${i} HTTP/1.1\r\nhost: ${hostname}:${port}\r\nconnection: close\r\n\r\n`);
      let text = "";
      for await (const piece of socket) text += String(piece);
      return text.includes(`"id":"${i}"`);
    });
    expect((await Promise.all(answers)).filter(Boolean)).toHaveLength(1_000);
  });
});
