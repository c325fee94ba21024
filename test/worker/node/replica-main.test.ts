/** A replica as the agent starts it: a real process, a real WebSocket, a bundle from the builder, a tiny model through the real engine. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { prepareCached } from "../../../engine/node/prepared-cache.ts";
import type { OpenHttp } from "../../../protocol/heads.ts";
import { Link } from "../../../protocol/link.ts";
import type { BuildRequest, BuildResult, FromReplica, ReplicaOptions } from "../../../protocol/local.ts";
import { childReady, spawnChild } from "../../../protocol/node/parent.ts";
import { httpHead } from "../../ingress/client.ts";
import { makeTinyGguf } from "../../support/tiny-gguf.ts";
import { replicaSpec } from "../agent/specs.ts";

const root = mkdtempSync(join(tmpdir(), "skein-replica-main-"));
const children: ChildProcess[] = [];
const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
let url = "";
const links: Link[] = [];

beforeAll(async () => {
  if (server.address() === null) await once(server, "listening");
  url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/link`;
  server.on("connection", (socket) => {
    const io = {
      send: (m: Uint8Array) => socket.send(m),
      close: (c: number) => socket.close(c),
      afterTurn: (f: () => void) => void setImmediate(f),
    };
    const link: Link = new Link(
      "listener",
      io,
      {
        onHello: () => link.welcome({ build: "test", features: [], ingress: "i" }),
        onStream: () => ({}),
        onClose: () => {},
      },
      Date.now(),
    );
    links.push(link);
    // It pings, as the listening side does: a replica gives up an ingress that is silent while a model answers slowly.
    const ticking = setInterval(() => link.tick(Date.now()), 250);
    socket.on("message", (data) => link.receive(data as Buffer, Date.now()));
    socket.on("close", (code) => {
      clearInterval(ticking);
      link.closed(code, "");
    });
  });
});
afterEach(() => void (links.length = 0));
afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
  server.close();
  rmSync(root, { recursive: true, force: true });
});

interface Built extends BuildResult {
  /** Path. */
  readonly bundle: string;
}

async function build(name: string, source: string): Promise<Built> {
  const appDir = mkdtempSync(join(root, "app-"));
  writeFileSync(join(appDir, `${name}.ts`), source);
  const builder = spawnChild(new URL("../../../worker/node/builder/main.ts", import.meta.url), { output: "inherit" });
  children.push(builder);
  const built = await childReady<BuildRequest, BuildResult>(builder, {
    appDir,
    importPath: `${name}:app`,
    args: {},
    blobs: appDir,
  });
  const bundle = join(appDir, "bundle.mjs");
  copyFileSync(join(appDir, built.manifest.bundles.node), bundle);
  return { ...built, bundle };
}

function start(
  built: Built,
  onMessage: (message: FromReplica, child: ChildProcess) => void = () => {},
): { child: ChildProcess; started: Promise<null> } {
  const deployment = built.manifest.graph.ingress;
  const options: ReplicaOptions = {
    spec: replicaSpec(`app#${deployment}#abcdefgh`, {
      deployment,
      artefact: built.artefact,
      gracefulShutdownTimeoutS: 5,
      gracefulShutdownWaitLoopS: 1,
    }),
    manifest: built.manifest,
    bundle: built.bundle,
    ingresses: [{ ingress: "i", host: "h", urls: [url] }],
    worker: { id: "w", host: "h", kind: "node" },
    device: "auto",
    allowSoftwareGpu: false,
    logLevel: "info",
  };
  const child = spawnChild(new URL("../../../worker/node/replica-main.ts", import.meta.url), { output: "inherit" });
  children.push(child);
  child.on("message", (message: FromReplica) => onMessage(message, child));
  return { child, started: childReady<ReplicaOptions, null>(child, options) };
}

async function request(
  change: Partial<OpenHttp>,
  body?: string,
): Promise<{ status: number | undefined; text: string }> {
  await expect.poll(() => links.at(-1)?.state).toBe("ready");
  const pieces: Uint8Array[] = [];
  let status: number | undefined;
  return new Promise((resolve, reject) => {
    const head = httpHead({ headers: ["host", "h"], ...change });
    const stream = links.at(-1)!.open(
      head,
      {
        onHead: (h) => void (status = h.status),
        onChunk: (payload, _type, _more, charge) => {
          pieces.push(payload.slice());
          stream.consumed(charge);
        },
        onEnd: () => resolve({ status, text: Buffer.concat(pieces).toString() }),
        onFail: (fail) => reject(new Error(`${fail.code}: ${fail.message}`)),
        onBusy: () => reject(new Error("busy")),
      },
      body === undefined,
    );
    if (body === undefined) return;
    stream.write("bytes", Buffer.from(body));
    stream.end();
  });
}

test("it serves over its link, with ambient context and real Requests, and drains at a stop", async () => {
  const built = await build(
    "plain",
    `import { deployment, getContext, getReplicaContext } from "skein";
     class D {
       async fetch(request: Request) {
         const echo = await new Request(request).text();
         await null;
         return { echo, id: getContext().requestId, replica: getReplicaContext().deployment };
       }
       [Symbol.asyncDispose]() { return new Promise<void>((done) => setTimeout(done, 10)); }
     }
     export const app = deployment(D).bind();`,
  );
  const { child, started } = start(built);
  await started;
  expect(await request({ method: "POST" }, "hello")).toEqual({
    status: 200,
    text: '{"echo":"hello","id":"r","replica":"D"}',
  });
  const exit = once(child, "exit");
  child.send({ type: "stop", timeoutMs: 5000, waitLoopMs: 1000 });
  expect(await exit).toEqual([0, null]);
});

test("what the constructor throws is told with the place in the user's file, and the process ends", async () => {
  const built = await build(
    "broken",
    `import { deployment } from "skein";\nclass D {\n  constructor() {\n    throw new TypeError("no weights");\n  }\n}\nexport const app = deployment(D).bind();`,
  );
  const said: FromReplica[] = [];
  const { child, started } = start(built, (message) => said.push(message));
  const exit = once(child, "exit");
  await expect(started).rejects.toThrow(/TypeError: no weights\n.*broken\.ts:4:11/);
  expect(said).toContainEqual(expect.objectContaining({ type: "status", state: "failed" }));
  expect((await exit)[0]).toBe(1);
});

test("the textbook's class answers through the engine's thread, with a tiny model that the agent locates", async () => {
  const source = readFileSync(new URL("../../../examples/llm.ts", import.meta.url), "utf8")
    .replace("export const chat", "export const app")
    .replace("maxTokens: 1024", "maxTokens: 8");
  const built = await build("llm", source);
  const gguf = join(root, "tiny.gguf");
  writeFileSync(gguf, makeTinyGguf().bytes);
  const said: FromReplica[] = [];
  const { child, started } = start(built, (message, replica) => {
    said.push(message);
    if (message.type !== "needModel") return;
    void prepareCached({ file: gguf, target: message.provider, cache: join(root, "prepared"), now: Date.now() }).then(
      (directory) =>
        replica.send({ type: "model", id: message.id, model: { kind: "prepared", directory }, error: null }),
      (error: Error) => replica.send({ type: "model", id: message.id, model: null, error: error.message }),
    );
  });
  await started;
  const answer = await request({ method: "POST" }, '"Could you explain what is dask?"');
  expect(answer.status).toBe(200);
  expect(answer.text.length).toBeGreaterThan(0);
  expect(await request({ method: "POST" }, '"Could you explain what is dask?"')).toEqual(answer);
  // The engine's slots are the limit, since the code says none.
  expect(said.findLast((m) => m.type === "status")).toMatchObject({ state: "ready", maxOngoingRequests: 8 });
  const exit = once(child, "exit");
  child.send({ type: "stop", timeoutMs: 5000, waitLoopMs: 1000 });
  expect((await exit)[0]).toBe(0);
});
