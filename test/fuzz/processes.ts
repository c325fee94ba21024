/** Malformed messages against the ports of a mesh of real processes: control links, data links, raw HTTP. */
import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { WebSocket } from "ws";
import { SystemMesh } from "../system/mesh.ts";
import { below, chance, type Random } from "../support/random.ts";
import { FrameAttacker, hostileControl } from "./hostile.ts";
import { AMBIGUOUS, ambiguousRequest, hostileHttp, SMUGGLED } from "./smuggling.ts";

/** A connection that is neither answered nor closed is left after this long, ms: a head that never ends has its own, longer, limit. */
const PATIENCE_MS = 100;
const PER_CONNECTION = 20;
const AT_ONCE = 8;
/** For an answer to an ambiguous request, ms: none within it is taken as refusal, so it is generous. */
const ANSWER_MS = 3_000;

export interface Doors {
  readonly control: string;
  readonly link: string;
  readonly client: string;
}

/** A mesh of one worker, whose doors are known. */
export async function besieged(appDir: string): Promise<{ readonly mesh: SystemMesh; readonly at: Doors }> {
  const port = await freePort();
  const mesh = await SystemMesh.start({
    workers: 1,
    appDir,
    compiled: true,
    agent: () => ({ ingressMesh: { host: "127.0.0.1", port, names: [], advertise: [], disabled: false } }),
  });
  try {
    await mesh.deploy([{ name: "load", import_path: "load:app" }]);
    const control = `${mesh.coordinator.ready.meshUrl.replace(/^http/, "ws")}/control`;
    return { mesh, at: { control, link: `ws://127.0.0.1:${port}/link`, client: await mesh.clientUrl() } };
  } catch (error) {
    await mesh.stop();
    throw error;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Sends up to `messages` in all, on many connections, to one door; how many were sent. */
export async function attack(door: keyof Doors, at: Doors, messages: number, random: Random): Promise<number> {
  let sent = 0;
  const attacker = async (): Promise<void> => {
    while (sent < messages) {
      const count = 1 + below(random, PER_CONNECTION);
      sent +=
        door === "client"
          ? await attackHttp(at.client, count, random)
          : await attackSocket(at[door], count, () => messageFor(door, random), random);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, attacker));
  return sent;
}

let frames: FrameAttacker | null = null;
function messageFor(door: "control" | "link", random: Random): string | Uint8Array {
  if (chance(random, 0.05)) return Buffer.from(Array.from({ length: below(random, 100) }, () => below(random, 256)));
  if (door === "control") return hostileControl(random);
  if (frames === null || chance(random, 0.1)) frames = new FrameAttacker(random, 1, [2]);
  return frames.message();
}

async function attackSocket(
  url: string,
  count: number,
  message: () => string | Uint8Array,
  random: Random,
): Promise<number> {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
  const opened = await Promise.race([
    once(socket, "open").then(
      () => true,
      () => false,
    ),
    closed.then(() => false),
  ]);
  if (!opened) throw new Error(`${url} takes no connections any more.`);
  let sent = 0;
  for (; sent < count && socket.readyState === WebSocket.OPEN; sent += 1) {
    socket.send(message());
    if (chance(random, 0.5)) await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.race([closed, later(PATIENCE_MS)]);
  socket.terminate();
  return Math.max(1, sent);
}

async function attackHttp(base: string, count: number, random: Random): Promise<number> {
  const { hostname, port } = new URL(base);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
  if (
    !(await Promise.race([
      once(socket, "connect").then(
        () => true,
        () => false,
      ),
      closed.then(() => false),
    ]))
  )
    throw new Error(`${base} takes no connections any more.`);
  socket.resume();
  let sent = 0;
  for (; sent < count && socket.writable; sent += 1) socket.write(hostileHttp(random));
  await Promise.race([closed, later(PATIENCE_MS)]);
  socket.destroy();
  return Math.max(1, sent);
}

/** Sends every ambiguous request; those that made the listener answer a request that was hidden in a body. */
export async function smuggled(base: string, corpus: readonly string[] = AMBIGUOUS): Promise<string[]> {
  const { host, hostname, port } = new URL(base);
  const found = await Promise.all(
    corpus.map(async (rest) => {
      const socket = connect(Number(port), hostname);
      socket.on("error", () => {});
      let text = "";
      socket.setEncoding("latin1").on("data", (piece: string) => (text += piece));
      const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
      socket.write(Buffer.from(ambiguousRequest(rest, host), "latin1"));
      await Promise.race([closed, later(ANSWER_MS)]);
      socket.destroy();
      // Either the application's 404 or the ingress's names or follows the hidden request: two answers on one connection.
      return text.includes(SMUGGLED) || (text.match(/HTTP\/1\.1 \d/g)?.length ?? 0) > 1 ? rest : null;
    }),
  );
  return found.filter((rest) => rest !== null);
}

const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
