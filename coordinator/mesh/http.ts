/**
 * The mesh's HTTP side: blobs and models for workers (by ticket), and the files of the page that makes a tab a worker.
 * No deploying, no reading of state here: a machine that contributes needs only this port, and it can do no more.
 */
import { createReadStream } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { extname, join, sep } from "node:path";
import { ReadableStream as NodeReadableStream } from "node:stream/web";
import { Hono, type Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { OUTSIDE, SkeinError } from "../../protocol/errors.ts";
import { bearer, isForeign } from "../api/guard.ts";
import { isSha256, type BlobStore } from "../blobs.ts";
import type { Gate } from "../sessions.ts";
import type { MeshModels } from "./models.ts";
import { rangeOf } from "./range.ts";

/** Where the built worker page is, or what makes it when it is first asked for; null: there is none. */
export type PageFolder = string | null | (() => Promise<string>);

export interface MeshHttp {
  readonly gate: Gate;
  readonly blobs: BlobStore;
  readonly models: MeshModels;
  /** Whether a worker has a replica, which may want a model. */
  readonly hasReplica: (worker: string) => boolean;
  readonly pageFolder: PageFolder;
  readonly listensOn: string;
  readonly advertised: () => readonly string[];
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
  ".map": "application/json",
};

/**
 * Of the page and of every script, because a Web Worker goes by its own. Threads in WebAssembly need isolation from other origins. Scripts come
 * from here, bundles of applications from blobs of this origin; links go to ingresses, whose addresses aren't known when a script is sent.
 */
const PAGE_HEADERS = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
  "content-security-policy":
    "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self' ws: wss:; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
};

const text = (c: Context, status: ContentfulStatusCode, body: string): Response =>
  c.body(body, status, { "content-type": "text/plain; charset=utf-8" });

export function meshHttp(mesh: MeshHttp): Hono {
  const app = new Hono();
  app.use(async (c, next) => {
    if (isForeign({ host: c.req.header("host"), origin: c.req.header("origin") }, mesh.listensOn, mesh.advertised()))
      return text(c, 403, "403: Forbidden");
    await next();
  });
  app.onError((error, c) => {
    const known = SkeinError.from(error);
    return text(
      c,
      OUTSIDE[known.code].http as ContentfulStatusCode,
      known.code === "INTERNAL" ? "Internal error" : known.message,
    );
  });
  app.notFound((c) => text(c, 404, "404: Not Found"));

  /** The worker whose ticket it is; null without one. */
  const worker = (c: Context): string | null => {
    const text = bearer(c.req.header("authorization"));
    const ticket = text === null ? null : mesh.gate.ticket(text);
    return ticket?.use === "worker" ? ticket.worker : null;
  };
  const refused = (c: Context): Response => text(c, 401, "401: Unauthorized");

  app.get("/blobs/:sha", async (c) => {
    if (worker(c) === null) return refused(c);
    const sha = c.req.param("sha");
    const size = isSha256(sha) ? await mesh.blobs.size(sha) : null;
    if (!isSha256(sha) || size === null) return c.notFound();
    return ranged(c, size, (from, to) => mesh.blobs.read(sha, from, to), {
      "content-type": "application/octet-stream",
      "cache-control": "private, immutable, max-age=31536000",
    });
  });
  /** What is asked for may be fetched, with this machine's credentials: who has joined but runs nothing is answered as if there were nothing. */
  const notForModels = (c: Context): Response | Promise<Response> | null => {
    const id = worker(c);
    if (id === null) return refused(c);
    return mesh.hasReplica(id) ? null : c.notFound();
  };
  app.get("/models/:name", async (c) => {
    const no = notForModels(c);
    if (no !== null) return no;
    const { entry, files } = await mesh.models.listing(c.req.param("name"));
    return c.json({ entry, files: files.map(({ file, bytes, sha256 }) => ({ file, bytes, sha256 })) });
  });
  // Files of the listing and no others: the name is compared, never joined to a path.
  app.get("/models/:name/:file", async (c) => {
    const no = notForModels(c);
    if (no !== null) return no;
    const file = await mesh.models.file(c.req.param("name"), c.req.param("file"));
    if (file === null) return c.notFound();
    return ranged(c, file.bytes, (start, end) => createReadStream(file.path, { start, end }), {
      "content-type": "application/octet-stream",
      "cache-control": "no-store",
    });
  });
  app.get("/join", (c) => page(c, mesh.pageFolder, "index.html"));
  app.get("/join/*", (c) =>
    page(c, mesh.pageFolder, decodeURIComponent(c.req.path.slice("/join/".length)) || "index.html"),
  );
  return app;
}

function ranged(
  c: Context,
  size: number,
  read: (from: number, to: number) => AsyncIterable<Uint8Array>,
  headers: Record<string, string>,
): Response {
  const range = rangeOf(c.req.header("range"), size);
  if (range === "unsatisfiable") return c.body("", 416, { "content-range": `bytes */${size}` });
  const [from, to] = range ?? [0, size - 1];
  const all = {
    ...headers,
    "accept-ranges": "bytes",
    "content-length": String(Math.max(to - from + 1, 0)),
    ...(range === null ? {} : { "content-range": `bytes ${from}-${to}/${size}` }),
  };
  if (c.req.method === "HEAD" || size === 0) return c.body(null, 200, all);
  return c.body(
    NodeReadableStream.from(read(from, to)) as unknown as ReadableStream<Uint8Array>,
    range === null ? 200 : 206,
    all,
  );
}

/** A file below the folder and nowhere else, links followed. */
async function page(c: Context, pageFolder: PageFolder, name: string): Promise<Response> {
  const folder = typeof pageFolder === "function" ? await pageFolder() : pageFolder;
  if (folder === null) return text(c, 404, "This mesh has no worker page: join with `skein worker join`.");
  try {
    const root = await realpath(folder);
    const file = await realpath(join(root, name));
    const facts = await stat(file);
    if (!file.startsWith(root + sep) || !facts.isFile()) return await c.notFound();
    // Everything but the page itself lies in a folder that is named after its content.
    const caching = file === join(root, "index.html") ? "no-cache" : "public, immutable, max-age=31536000";
    const headers = {
      ...PAGE_HEADERS,
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
      "content-length": String(facts.size),
      "cache-control": caching,
    };
    if (c.req.method === "HEAD" || facts.size === 0) return c.body(null, 200, headers);
    return c.body(
      NodeReadableStream.from(createReadStream(file)) as unknown as ReadableStream<Uint8Array>,
      200,
      headers,
    );
  } catch {
    return c.notFound();
  }
}
