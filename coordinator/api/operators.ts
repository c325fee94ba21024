/**
 * The operators' listener: Ray's REST API, Skein's own under /api/skein/, metrics and the status page. Every route but the page's shell
 * needs the admin token (or `--insecure-local-api`). No `Access-Control-*`: no other page may read an answer.
 */
import { Hono, type Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { bodyLimit } from "hono/body-limit";
import { joinLink, readAddress } from "../../protocol/address.ts";
import type { IngressAddress } from "../../protocol/control.ts";
import { parseDeployConfig } from "../../protocol/config.ts";
import { OUTSIDE, SkeinError } from "../../protocol/errors.ts";
import type { Sha256 } from "../../protocol/ids.ts";
import { DEPLOY_BODY_MAX, LABEL_MAX } from "../../protocol/limits.ts";
import { openWarnings, type ApiKeyDetails, type ApiKeys } from "../api-keys.ts";
import { isSha256 } from "../blobs.ts";
import { parseApplication, type Service } from "../service.ts";
import { statusReport, type ControllerInfo } from "../status-report.ts";
import type { JoinTokens } from "../tokens.ts";
import { bearer, isForeign, sameSecret } from "./guard.ts";
import type { LogReaders } from "./logs.ts";
import { PAGE, PAGE_HEADERS, PAGE_SCRIPT, pageBody } from "./page.ts";
import { scaleRequest, validationText, workingDirIssue } from "./validation.ts";

/** Join tokens live an hour and admit one worker unless asked otherwise; never longer than a month. */
const TOKEN_LIFETIME_S = 3_600;
const TOKEN_LIFETIME_MAX_S = 30 * 24 * 3_600;
const TOKEN_USES_MAX = 10_000;
/** An API key lives until it is revoked, unless asked otherwise; then at most ten years, s. */
const KEY_LIFETIME_MAX_S = 10 * 365 * 24 * 3_600;

export interface OperatorApi {
  readonly service: Service;
  readonly tokens: JoinTokens;
  readonly keys: ApiKeys;
  readonly logs: LogReaders;
  readonly adminToken: string;
  readonly insecure: boolean;
  readonly listensOn: string;
  readonly info: () => ControllerInfo;
  readonly metrics: () => Promise<{ type: string; text: string }>;
  readonly meshUrls: () => readonly string[];
  /** For a script that calls deployments: a ticket, and where ingresses can be dialled. */
  readonly caller: () => { readonly ticket: string; readonly ingresses: readonly IngressAddress[] };
  readonly shutdown: () => void;
  readonly version: string;
  readonly now: () => number;
}

const text = (c: Context, status: ContentfulStatusCode, body: string): Response =>
  c.body(body, status, { "content-type": "text/plain; charset=utf-8" });
const notFound = (c: Context): Response => text(c, 404, "404: Not Found");

async function body(c: Context): Promise<unknown> {
  try {
    return await c.req.json();
  } catch (error) {
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `The body is not JSON: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

export function operatorApi(api: OperatorApi): Hono {
  const { service, tokens } = api;
  const app = new Hono();

  app.use(async (c, next) => {
    if (isForeign({ host: c.req.header("host"), origin: c.req.header("origin") }, api.listensOn, []))
      return text(c, 403, "403: Forbidden");
    await next();
  });
  app.get("/", (c) => c.body(PAGE, 200, PAGE_HEADERS));
  app.get("/page.js", (c) =>
    c.body(PAGE_SCRIPT, 200, { "content-type": "text/javascript; charset=utf-8", "cache-control": "no-store" }),
  );
  app.use(async (c, next) => {
    const given = bearer(c.req.header("authorization"));
    if (!api.insecure && (given === null || !sameSecret(given, api.adminToken))) {
      return c.body("401: Unauthorized", 401, {
        "content-type": "text/plain; charset=utf-8",
        "www-authenticate": "Bearer",
      });
    }
    await next();
  });
  app.onError((error, c) => {
    const known = SkeinError.from(error);
    return c.json(
      { error: known.code === "INTERNAL" ? "Internal error; the coordinator's log has more." : known.message },
      OUTSIDE[known.code].http as ContentfulStatusCode,
    );
  });
  app.notFound(notFound);

  const limited = bodyLimit({
    maxSize: DEPLOY_BODY_MAX,
    onError: (c) => text(c, 413, `413: the body may have ${DEPLOY_BODY_MAX} bytes`),
  });
  ray(app, api, limited);

  app.on("HEAD", "/api/skein/blobs/:sha", async (c) => blobHead(c, service));
  app.put("/api/skein/blobs/:sha", async (c) => {
    const sha = c.req.param("sha");
    if (!isSha256(sha)) throw new SkeinError("INVALID_ARGUMENT", "A blob is named by its SHA-256 in lower-case hex.");
    await service.blobs.put(sha, (c.req.raw.body ?? new Blob().stream()) as unknown as AsyncIterable<Uint8Array>);
    return c.body("", 200);
  });
  app.put("/api/skein/applications/:name", limited, async (c) => {
    const input = await body(c);
    const parsed = parseApplication(c.req.param("name"), input);
    if (!parsed.success)
      return text(
        c,
        400,
        validationText(
          "ServeApplicationSchema",
          parsed.error.issues.map((i) => ({
            path: i.path.map((p) => (typeof p === "symbol" ? String(p) : p)),
            message: i.message,
          })),
        ),
      );
    return answer(c, await service.put(parsed.data, input));
  });
  app.delete("/api/skein/applications/:name", async (c) => {
    await service.deleteApp(c.req.param("name"));
    return c.body("", 200);
  });
  app.get("/api/skein/workers", (c) =>
    c.json({ workers: statusReport(service.loop.state, api.info()).skein.workers, waiting: tokens.waiting() }),
  );
  app.post("/api/skein/workers/:id/approve", async (c) => {
    if (!(await tokens.approve(c.req.param("id"))))
      throw new SkeinError("NOT_FOUND", "No such worker waits for approval.");
    return c.body("", 200);
  });
  app.get("/api/skein/join-tokens", (c) =>
    c.json({
      tokens: tokens
        .list(api.now())
        .map((t) => ({ id: t.id, label: t.label, expires_at_ms: t.expiresAtMs, uses_left: t.usesLeft })),
    }),
  );
  app.post("/api/skein/join-tokens", limited, async (c) => {
    const wish = (await body(c)) as { expires_in_s?: unknown; max_uses?: unknown; label?: unknown } | null;
    const lifetimeS = bounded("expires_in_s", wish?.expires_in_s, TOKEN_LIFETIME_S, TOKEN_LIFETIME_MAX_S);
    const maxUses = wish?.max_uses === null ? TOKEN_USES_MAX : bounded("max_uses", wish?.max_uses, 1, TOKEN_USES_MAX);
    const { id, token } = await tokens.create({
      label: String(wish?.label ?? "").slice(0, LABEL_MAX),
      ttlMs: lifetimeS * 1000,
      maxUses,
      nowMs: api.now(),
    });
    const address = api.meshUrls()[0];
    return c.json({
      id,
      token,
      expires_at_ms: api.now() + lifetimeS * 1000,
      uses_left: maxUses,
      ...(address === undefined ? {} : { url: readAddress(address).url, link: joinLink(address, token) }),
    });
  });
  app.delete("/api/skein/join-tokens/:id", async (c) => {
    if (!(await tokens.revoke(c.req.param("id")))) throw new SkeinError("NOT_FOUND", "No such join token.");
    return c.body("", 200);
  });
  app.get("/api/skein/logs/:app/:deployment?", (c) => {
    const follow = c.req.query("follow") === "1" || c.req.query("follow") === "true";
    const stream = api.logs.open(c.req.param("app"), c.req.param("deployment") ?? null, follow, c.req.raw.signal);
    return c.body(stream, 200, { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" });
  });
  app.post("/api/skein/callers", (c) => c.json(api.caller(), 200, { "cache-control": "no-store" }));
  app.post("/api/skein/shutdown", async (c) => {
    await service.deleteAll();
    api.shutdown();
    return c.body("", 200);
  });
  app.get("/api/skein/page", (c) =>
    c.html(
      pageBody(statusReport(service.loop.state, api.info()), [
        ...service.loop.state.desired.options.warnings,
        ...openWarnings(service.loop.state.desired),
      ]),
    ),
  );
  apiKeyRoutes(app, api, limited);
  app.get("/metrics", async (c) => {
    const { type, text: metrics } = await api.metrics();
    return c.body(metrics, 200, { "content-type": type });
  });
  return app;
}

/** Who may call applications. A key is in the answer that makes it and nowhere else. */
function apiKeyRoutes(app: Hono, { keys, service, now }: OperatorApi, limited: ReturnType<typeof bodyLimit>): void {
  const shown = (key: ApiKeyDetails): object => ({
    id: key.id,
    app: key.app,
    name: key.name,
    created_at_ms: key.createdAtMs,
    expires_at_ms: key.expiresAtMs,
    expired: key.expiresAtMs !== null && key.expiresAtMs < now(),
  });
  app.get("/api/skein/api-keys", (c) => c.json({ keys: keys.list().map(shown), unreachable: keys.unreachable() }));
  app.post("/api/skein/api-keys", limited, async (c) => {
    const wish = (await body(c)) as { app?: unknown; name?: unknown; expires_in_s?: unknown } | null;
    const lifetimeS = wish?.expires_in_s ?? null;
    const { key, ...details } = await keys.create({
      app: typeof wish?.app === "string" ? wish.app : "",
      name: String(wish?.name ?? ""),
      ttlMs: lifetimeS === null ? null : bounded("expires_in_s", lifetimeS, 0, KEY_LIFETIME_MAX_S) * 1000,
    });
    const deployed = service.loop.state.desired.apps[details.app] !== undefined;
    return c.json({ ...shown(details), key, deployed });
  });
  app.delete("/api/skein/api-keys/:id", async (c) => {
    if (!(await keys.revoke(c.req.param("id")))) throw new SkeinError("NOT_FOUND", "No such API key.");
    return c.body("", 200);
  });
  app.delete("/api/skein/applications/:name/api-keys", async (c) => {
    const name = c.req.param("name");
    if (!(await keys.open(name))) throw new SkeinError("NOT_FOUND", `Application "${name}" asks for no API key.`);
    return c.body("", 200);
  });
}

/** Ray Serve's own routes, with its status codes and texts. */
function ray(app: Hono, api: OperatorApi, limited: ReturnType<typeof bodyLimit>): void {
  const { service } = api;
  for (const path of ["/api/serve/applications/", "/api/serve/applications"]) {
    app.get(path, (c) => {
      const type = c.req.query("api_type");
      const source = type?.toLowerCase();
      if (source !== undefined && source !== "imperative" && source !== "declarative")
        return text(c, 400, `Invalid 'api_type' value: ${type}. Must be one of: imperative, declarative`);
      return c.json(statusReport(service.loop.state, api.info(), source));
    });
    app.put(path, limited, async (c) => {
      const input = await body(c).catch((error: unknown) => SkeinError.from(error));
      if (input instanceof SkeinError) return text(c, 400, input.message);
      const parsed = parseDeployConfig(input);
      if (parsed.issues !== undefined) return text(c, 400, validationText("ServeDeploySchema", parsed.issues));
      const local = workingDirIssue(parsed.config);
      if (local !== null) return text(c, 400, validationText("ServeDeploySchema", [local]));
      return answer(c, await service.deploy(parsed.config, input));
    });
    app.delete(path, async (c) => {
      await service.deleteAll();
      return c.body("", 200);
    });
    app.all(path, (c) => text(c, 405, "405: Method Not Allowed"));
  }
  app.post("/api/v1/applications/:app/deployments/:deployment/scale", limited, async (c) => {
    const wish = scaleRequest(await c.req.text());
    if (wish.error !== undefined) return c.json({ error: wish.error }, 400);
    try {
      await service.scale(c.req.param("app"), c.req.param("deployment"), wish.replicas);
    } catch (error) {
      const known = SkeinError.from(error);
      return c.json({ error: known.message }, known.code === "NOT_FOUND" ? 404 : known.code === "CONFLICT" ? 412 : 503);
    }
    return c.json({ message: "Scaling request received. Deployment will get scaled asynchronously." });
  });
  app.get("/api/ray/version", (c) => c.json({ version: "4", ray_version: `skein-${api.version}`, ray_commit: "" }));
}

/** Ray answers with nothing; warnings, where there are some, are worth a body. */
const answer = (c: Context, warnings: readonly string[]): Response =>
  warnings.length === 0 ? c.body("", 200) : c.json({ warnings });

async function blobHead(c: Context, service: Service): Promise<Response> {
  const size = await service.blobs.size((c.req.param("sha") ?? "") as Sha256);
  return size === null ? notFound(c) : c.body(null, 200, { "content-length": String(size) });
}

function bounded(name: string, value: unknown, otherwise: number, max: number): number {
  if (value === undefined) return otherwise;
  if (typeof value !== "number" || !Number.isFinite(value) || value <= 0 || value > max)
    throw new SkeinError("INVALID_ARGUMENT", `${name}: expected a number above 0 and up to ${max}.`);
  return value;
}
