/**
 * Which application a path belongs to: the longest prefix on path boundaries, after the root path, on the decoded path.
 * Knows strings only.
 */
import { keyringOf, type Keyring } from "./api-keys.ts";
import type { RoutingTable } from "../protocol/routes.ts";

export interface Route {
  /** Prefix without a trailing slash; "" for "/". */
  readonly prefix: string;
  readonly app: string;
  /** Deployment that takes the requests. */
  readonly deployment: string;
  /** As configured: for `/-/routes`, logs and metrics. */
  readonly name: string;
  readonly accessLog: boolean;
  /** What callers must show; null: nothing. */
  readonly keys: Keyring | null;
}

export interface Match {
  readonly route: Route;
  /** Root path and prefix as they stood in the request. */
  readonly mount: string;
  /** What is left, with the query; "" when the path is the prefix itself. */
  readonly path: string;
}

export class Routes {
  /** Longest first, so the first hit is the answer. */
  readonly #routes: readonly Route[];
  readonly #rootPath: string;
  /** The body of `/-/routes`. */
  readonly json: string;

  constructor(table: Pick<RoutingTable, "apps" | "loggingConfig">, rootPath: string) {
    const routed = table.apps.filter((app) => app.routePrefix !== null);
    this.#routes = routed
      .map((app): Route => ({
        prefix: app.routePrefix === "/" ? "" : app.routePrefix!,
        app: app.name,
        deployment: app.ingress,
        name: app.routePrefix!,
        accessLog: app.loggingConfig?.enable_access_log ?? table.loggingConfig?.enable_access_log ?? true,
        keys: keyringOf(app.apiKeys),
      }))
      .toSorted((a, b) => b.prefix.length - a.prefix.length);
    this.#rootPath = rootPath.replace(/\/+$/, "");
    this.json = JSON.stringify(Object.fromEntries(routed.map((app) => [app.routePrefix!, app.name])));
  }

  get empty(): boolean {
    return this.#routes.length === 0;
  }

  /** The path without the root path, if it starts with it (as in Ray: a proxy in front may have cut it off already). */
  withoutRoot(target: string): string {
    const root = this.#rootPath;
    if (root === "" || !target.startsWith(root)) return target;
    const next = target.charCodeAt(root.length);
    return next === 47 || next === 63 || Number.isNaN(next) ? target.slice(root.length) : target;
  }

  /** `target`: path and query of the request line. */
  match(target: string): Match | undefined {
    const local = this.withoutRoot(target);
    const question = local.indexOf("?");
    const raw = question < 0 ? local : local.slice(0, question);
    const decoded = raw.includes("%") ? decode(raw) : raw;
    const route = this.#routes.find(({ prefix }) => startsOnBoundary(decoded, prefix));
    if (route === undefined) return undefined;
    const cut = decoded === raw ? route.prefix.length : rawLength(raw, route.prefix);
    return { route, mount: target.slice(0, target.length - local.length + cut), path: local.slice(cut) };
  }
}

function startsOnBoundary(path: string, prefix: string): boolean {
  if (!path.startsWith(prefix)) return false;
  return prefix === ""
    ? path.startsWith("/") || path === ""
    : path.length === prefix.length || path.charCodeAt(prefix.length) === 47;
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

const encoder = new TextEncoder();

/** How many characters of a percent-encoded path make up the decoded prefix: one byte each, `%xx` one byte too. */
function rawLength(raw: string, prefix: string): number {
  let bytes = encoder.encode(prefix).byteLength;
  let at = 0;
  for (; bytes > 0; bytes -= 1) at += raw.charCodeAt(at) === 37 ? 3 : 1;
  return at;
}
