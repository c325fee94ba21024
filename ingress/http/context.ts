/** What the HTTP files of the ingress share: the mesh, time and chance as arguments, who to tell when a request is over. */
import type { IncomingMessage } from "node:http";
import type { Mesh } from "../mesh.ts";
import type { Guard } from "./guard.ts";

/** One finished request (or gRPC call, whose method is its path and whose route its application), for the access log and the metrics. */
export interface Finished {
  readonly requestId: string;
  readonly method: string;
  /** Route prefix, "" when none matched. */
  readonly route: string;
  readonly app: string;
  readonly deployment: string;
  /** 499: the client left. For WebSockets the close code, for gRPC `StatusCode.<name>`. */
  readonly status: number | string;
  readonly ms: number;
  readonly log: boolean;
  readonly isError: boolean;
}

export interface HttpContext {
  readonly mesh: Mesh;
  readonly guard: Guard;
  readonly requestTimeoutS: number | null;
  /** ms, monotonic. */
  now(): number;
  /** The coordinator's clock as well as known, ms since 1970. */
  meshTime(): number;
  after(ms: number, callback: () => void): () => void;
  freshId(): string;
  started(): void;
  finished(request: Finished): void;
  /** No new requests on this connection: the listener is closing. */
  readonly closing: () => boolean;
}

export const remoteOf = (request: IncomingMessage): string => {
  const { remoteAddress, remotePort } = request.socket;
  if (remoteAddress === undefined) return "";
  return remoteAddress.includes(":") ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`;
};

/** Path and query of a request line; the absolute form is as good as the origin form. */
export function targetOf(url: string): string {
  if (url.startsWith("/") || url === "*") return url;
  try {
    const { pathname, search } = new URL(url);
    return pathname + search;
  } catch {
    return url;
  }
}
