/**
 * What a browser may do: loopback listeners answer only to names of this machine (a foreign name that points to 127.0.0.1 is DNS rebinding)
 * and take foreign origins only from `cors_origins`. Pure.
 */

/** Without the port; what is no host and port stays as it is, and is nobody's name. */
const hostOnly = (host: string): string => {
  const name = host.toLowerCase();
  return /^(\[[0-9a-f:.]+\]|[^[\]:]+)(?::\d{1,5})?$/.exec(name)?.[1] ?? name;
};

/** True for addresses and names that mean this machine only. */
export function isLoopback(host: string): boolean {
  const name = hostOnly(host);
  return (
    name === "localhost" ||
    name.endsWith(".localhost") ||
    name === "[::1]" ||
    name === "::1" ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(name)
  );
}

export interface Guard {
  /** The listener is bound to loopback. */
  readonly loopback: boolean;
  readonly scheme: "http" | "https";
  readonly corsOrigins: readonly string[];
}

export interface Verdict {
  /** Why not, in one sentence; null: come in. */
  readonly refusal: string | null;
  /** Header lines for the answer. */
  readonly headers: readonly string[];
}

const WELCOME: Verdict = { refusal: null, headers: [] };

export function judge(guard: Guard, host: string | undefined, origin: string | undefined): Verdict {
  if (guard.loopback && host !== undefined && !isLoopback(host))
    return {
      refusal: `This listener is bound to loopback and does not answer to the host name in "Host: ${host.slice(0, 100)}". Use localhost, or bind http_options.host to another address.`,
      headers: [],
    };
  if (origin === undefined || origin === `${guard.scheme}://${host}`) return WELCOME;
  const any = guard.corsOrigins.includes("*");
  if (any || guard.corsOrigins.includes(origin))
    return { refusal: null, headers: ["access-control-allow-origin", any ? "*" : origin, "vary", "Origin"] };
  if (guard.loopback)
    return {
      refusal: `Origin ${origin.slice(0, 100)} is not allowed here. Add it to http_options.cors_origins.`,
      headers: [],
    };
  return WELCOME;
}

/** Lines that answer a preflight request from an allowed origin. */
export function preflight(requestedHeaders: string | undefined): string[] {
  return [
    "access-control-allow-methods",
    "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    "access-control-allow-headers",
    requestedHeaders ?? "*",
    "access-control-max-age",
    "600",
  ];
}
