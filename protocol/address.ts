/**
 * Addresses within a mesh: a URL and, in its fragment, whose key must answer there (`#sha256=<fingerprint>`); without a fragment the certificate
 * must be one that this machine trusts. They travel as one text, so that whoever has an address also knows how to check it. Pure.
 */
import { SkeinError } from "./errors.ts";

/** SHA-256 of a public key (SubjectPublicKeyInfo), in hex. A certificate that is made anew for its key keeps it. */
const FINGERPRINT = /^[0-9a-f]{64}$/;

export interface Address {
  /** Without a fragment. */
  readonly url: string;
  /** Null: ordinary verification, or none for a plain URL. */
  readonly fingerprint: string | null;
}

/** `url` with the fingerprint of who must answer; null leaves it as it is. */
export const pinned = (url: string, fingerprint: string | null): string =>
  fingerprint === null ? url : `${url}#sha256=${fingerprint}`;

/** Throws INVALID_ARGUMENT for a fragment that is no fingerprint, and for a fingerprint of a URL without TLS. */
export function readAddress(address: string): Address {
  const at = address.indexOf("#");
  if (at < 0) return { url: address, fingerprint: null };
  const fingerprint = new URLSearchParams(address.slice(at + 1)).get("sha256") ?? "";
  return checked({ url: address.slice(0, at), fingerprint });
}

/** Another endpoint of the same server, by HTTP or as a WebSocket, with the same check. `path` begins with a slash. */
export function endpoint(address: string, kind: "http" | "ws", path: string): string {
  const { url, fingerprint } = readAddress(address);
  return pinned(`${url.replace(/^(http|ws)/, kind).replace(/\/+$/, "")}${path}`, fingerprint);
}

/** What is pasted on another machine, or opened in a browser there. Token and fingerprint are in the fragment, which nobody sends to a server. */
export function joinLink(address: string, token: string): string {
  const { url, fingerprint } = readAddress(address);
  return `${url}/join#token=${token}${fingerprint === null ? "" : `&sha256=${fingerprint}`}`;
}

/** A join link, or only the URL of a mesh port (whose fragment may be the token alone). Throws INVALID_ARGUMENT. */
export function readJoinAddress(text: string): Address & { readonly token: string | null } {
  const url = URL.parse(text.includes("://") ? text : `http://${text}`);
  if (url === null || !/^(https?|wss?):$/.test(url.protocol) || url.host === "")
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `Not an address of a mesh: "${text.slice(0, 200)}". Expected a URL such as https://192.168.1.10:8266 (the mesh port, not the operators').`,
    );
  const hash = url.hash.slice(1);
  const said = new URLSearchParams(hash.includes("=") ? hash : { token: hash });
  return {
    ...checked({ url: `${url.protocol.replace("ws", "http")}//${url.host}`, fingerprint: said.get("sha256") }),
    token: said.get("token") || null,
  };
}

function checked(address: Address): Address {
  const { url, fingerprint } = address;
  if (fingerprint === null) return address;
  if (!FINGERPRINT.test(fingerprint))
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `The fingerprint in the fragment of ${url} is not 64 hexadecimal digits: was the link copied whole?`,
    );
  if (!/^(https|wss):/.test(url))
    throw new SkeinError("INVALID_ARGUMENT", `${url} has a fingerprint but no TLS: the link must begin with https://.`);
  return address;
}

/** Names and addresses by which a machine reaches only itself. IPv6 with or without brackets. */
export const isLoopback = (host: string): boolean =>
  /^(localhost|::1|\[::1\]|127\.\d{1,3}\.\d{1,3}\.\d{1,3})$/i.test(host);

/** Is everything that goes there readable on the way? */
export const isExposed = (url: string): boolean => {
  const parsed = URL.parse(url);
  return parsed !== null && /^(http|ws):$/.test(parsed.protocol) && !isLoopback(parsed.hostname);
};
