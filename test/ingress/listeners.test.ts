import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { readAddress } from "../../protocol/address.ts";
import { keptCertificate, type Certificate } from "../../protocol/node/certificate.ts";
import { dial, WrongKey } from "../../protocol/node/dial.ts";
import type { MeshListenerContext } from "../../ingress/links/listener.ts";
import { listenLinks, type LinkListeners, type LinkPorts } from "../../ingress/links/listeners.ts";

const folder = mkdtempSync(join(tmpdir(), "skein-listeners-"));
let certificate: Certificate;
let other: Certificate;
let links: LinkListeners | null = null;
beforeAll(async () => {
  certificate = await keptCertificate(join(folder, "a"), Date.now());
  other = await keptCertificate(join(folder, "b"), Date.now());
});
afterEach(async () => {
  await links?.close();
  links = null;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Connections are counted and not spoken to. */
let connections = 0;
const link = { receive: () => {}, closed: () => {} };
const context = {
  sessions: { open: () => ((connections += 1), { link }), closeAll: () => {} },
  now: () => 0,
  metrics: () => Promise.resolve(""),
} as unknown as MeshListenerContext;

const listen = async (
  options: Partial<Parameters<typeof listenLinks>[0]>,
  before: LinkPorts | null = null,
): Promise<LinkListeners> =>
  (links = await listenLinks(
    { host: "0.0.0.0", port: 0, names: [], advertise: [], secure: true, ...options },
    before,
    context,
    {
      addresses: () => ["10.1.1.1", "10.2.2.2"],
      certificate: () => Promise.resolve(certificate),
    },
  ));

function open(address: string): Promise<void> {
  const { url, options } = dial(address);
  const socket = new WebSocket(url, options);
  return new Promise((resolve, reject) =>
    socket
      .on("open", () => {
        socket.terminate();
        resolve();
      })
      .on("error", reject),
  );
}

describe("where replicas dial an ingress", () => {
  it("on loopback is one plain listener", async () => {
    const { urls, ports } = await listen({ host: "127.0.0.1" });
    expect(urls).toEqual([`ws://127.0.0.1:${ports.mesh}/link`]);
    expect(ports.inner).toBeNull();
    await open(urls[0]!);
  });

  it("off loopback is plain for this host, and with TLS and the fingerprint for others", async () => {
    const { urls, ports } = await listen({ names: ["127.0.0.1", "box"], advertise: ["wss://forward:9/link"] });
    const pin = `#sha256=${certificate.fingerprint}`;
    expect(urls).toEqual([
      `ws://127.0.0.1:${ports.inner}/link`,
      `wss://127.0.0.1:${ports.mesh}/link${pin}`,
      `wss://box:${ports.mesh}/link${pin}`,
      `wss://forward:9/link${pin}`,
    ]);
    connections = 0;
    await open(urls[0]!);
    await open(urls[1]!);
    expect(connections).toBe(2);
    await expect(open(`ws://127.0.0.1:${ports.mesh}/link`)).rejects.toThrow();
    const impostor = `${readAddress(urls[1]!).url}#sha256=${other.fingerprint}`;
    await expect(open(impostor)).rejects.toBeInstanceOf(WrongKey);
    expect(connections).toBe(2);
  });

  it("is every address of the machine where no name was given, plain where the mesh is", async () => {
    const { urls, ports } = await listen({ secure: false });
    expect(urls).toEqual(["127.0.0.1", "10.1.1.1", "10.2.2.2"].map((host) => `ws://${host}:${ports.mesh}/link`));
  });

  it("has the ports of before, both of them", async () => {
    const first = await listen({});
    await first.close();
    expect((await listen({}, first.ports)).ports).toEqual(first.ports);
  });
});
