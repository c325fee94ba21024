/**
 * Who may talk to a listener: names in `Host` (against rebinding), foreign `Origin`s, bearer tokens. Knows nothing of routes.
 */
import { createHash, timingSafeEqual } from "node:crypto";

const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]", "::1"]);

export const isLoopbackHost = (host: string): boolean => LOOPBACK.has(host) || /^127\.\d+\.\d+\.\d+$/.test(host);

/** The name in a `Host` line without its port; "" for what is none, and nobody's. */
const nameOf = (host: string): string => /^(\[[0-9a-f:.]+\]|[^[\]:]+)(?::\d{1,5})?$/.exec(host)?.[1] ?? "";

/**
 * A listener on loopback answers only to loopback names (and those it advertises): a page on the web can make a browser
 * connect to 127.0.0.1 under its own name, but not under ours. A foreign page's requests carry its `Origin`.
 */
export function isForeign(
  headers: { host: string | undefined; origin: string | undefined },
  listensOn: string,
  advertised: readonly string[],
): boolean {
  const host = headers.host?.toLowerCase();
  if (host === undefined || host === "") return true;
  const names = advertised.flatMap((url) => URL.parse(url)?.hostname ?? []);
  if (isLoopbackHost(listensOn) && !isLoopbackHost(nameOf(host)) && !names.includes(nameOf(host))) return true;
  const origin = headers.origin?.toLowerCase();
  return origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`;
}

/** The token of an `Authorization: Bearer` header, or null. */
export function bearer(header: string | undefined): string | null {
  const match = /^Bearer ([\x21-\x7e]{1,16384})$/.exec(header ?? "");
  return match?.[1] ?? null;
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

/** In constant time, whatever the lengths. */
export const sameSecret = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b));
