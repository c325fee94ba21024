/**
 * Where replicas dial this ingress: plain on loopback for those of this host; off loopback, where the mesh has TLS, a second listener with a
 * certificate of this host's own, whose fingerprint is part of the address that other hosts are given.
 */
import { isLoopback, pinned } from "../../protocol/address.ts";
import type { IngressOptions } from "../../protocol/local.ts";
import type { Certificate } from "../../protocol/node/certificate.ts";
import { listenMesh, type MeshListener, type MeshListenerContext } from "./listener.ts";

/** Bound ports, to be tried again where "any" is asked for. */
export interface LinkPorts {
  readonly mesh: number;
  /** Of the second listener for this host alone, where there are two. */
  readonly inner: number | null;
}

export interface LinkListeners {
  /** Addresses, this host's own first. */
  readonly urls: readonly string[];
  readonly ports: LinkPorts;
  close(): Promise<void>;
}

export interface LinkHost {
  /** Of this machine, as others reach it. */
  addresses(): readonly string[];
  certificate(): Promise<Certificate>;
}

/** Rejects with one sentence when a port that was asked for is taken. */
export async function listenLinks(
  options: IngressOptions["mesh"],
  before: LinkPorts | null,
  context: MeshListenerContext,
  machine: LinkHost,
): Promise<LinkListeners> {
  const { host, port, names, advertise, secure } = options;
  const wildcard = host === "0.0.0.0" || host === "::";
  const outward = !isLoopback(host);
  const certificate = outward && secure ? await machine.certificate() : null;
  const listener = await listenAgain(host, port, before?.mesh ?? 0, context, certificate);
  const inner =
    certificate === null
      ? null
      : await listenAgain("127.0.0.1", 0, before?.inner ?? 0, context, null).catch(give(listener));
  const scheme = certificate === null ? "ws" : "wss";
  const url = (name: string): string =>
    pinned(`${scheme}://${urlHost(name)}:${listener.port}/link`, certificate?.fingerprint ?? null);
  const outer = names.length > 0 ? names : wildcard ? machine.addresses() : [host];
  const own = inner === null ? url(wildcard ? "127.0.0.1" : host) : `ws://127.0.0.1:${inner.port}/link`;
  const forwarded = advertise.map((text) =>
    certificate !== null && text.startsWith("wss:") && !text.includes("#")
      ? pinned(text, certificate.fingerprint)
      : text,
  );
  return {
    urls: [...new Set([own, ...(outward ? outer.map(url) : []), ...forwarded])],
    ports: { mesh: listener.port, inner: inner?.port ?? null },
    close: async () => void (await Promise.all([listener.close(), inner?.close()])),
  };
}

/** Any port means the one of before, if it is free. */
async function listenAgain(
  host: string,
  port: number,
  before: number,
  context: MeshListenerContext,
  certificate: Certificate | null,
): Promise<MeshListener> {
  if (port === 0 && before !== 0) {
    const listener = await listenMesh(host, before, context, certificate).catch(() => null);
    if (listener !== null) return listener;
  }
  return listenMesh(host, port, context, certificate);
}

const give =
  (listener: MeshListener) =>
  async (error: unknown): Promise<never> => {
    await listener.close();
    throw error;
  };

const urlHost = (host: string): string => (host.includes(":") && !host.startsWith("[") ? `[${host}]` : host);
