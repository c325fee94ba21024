/**
 * Manifests and bundles of applications on this disk, fetched from the mesh port by SHA-256, verified, shared by all workers of the
 * data directory. Content-addressed: what is there and has its hash is never fetched again. Bounded: what no replica was started with for
 * longest goes first; replicas have read theirs when they run, and a later start fetches it again.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { get as getHttp, type IncomingMessage } from "node:http";
import { get as getHttps } from "node:https";
import { join } from "node:path";
import { endpoint } from "../../protocol/address.ts";
import { manifestSchema, sha256Hex, type Manifest } from "../../protocol/artefact.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { BLOB_MAX } from "../../protocol/limits.ts";
import { prune, touch } from "../../protocol/node/blob-folder.ts";
import { dial } from "../../protocol/node/dial.ts";
import { BLOB_TIMEOUT_MS, BUNDLE_GRACE_MS, BUNDLES_CACHE_MAX } from "./limits.ts";

const HASH = /^[0-9a-f]{64}$/;

export class BlobCache {
  readonly folder: string;
  readonly #meshUrls: readonly string[];
  readonly #bytesMax: number;
  /** Fetches under way, so that replicas that start together fetch once. */
  readonly #fetching = new Map<string, Promise<string>>();

  /** `meshUrls`: http(s) addresses of the mesh port, tried in turn. */
  constructor(folder: string, meshUrls: readonly string[], bytesMax = BUNDLES_CACHE_MAX) {
    this.folder = folder;
    this.#bytesMax = bytesMax;
    this.#meshUrls = meshUrls;
  }

  async manifest(artefact: string, ticket: string): Promise<Manifest> {
    const text = await readFile(await this.path(artefact, "json", ticket), "utf8");
    const parsed = manifestSchema.safeParse(JSON.parse(text));
    if (!parsed.success)
      throw new SkeinError(
        "INCOMPATIBLE",
        `The application's manifest ${artefact.slice(0, 12)} has a form that this worker doesn't know; is the worker older than the mesh?`,
      );
    return parsed.data;
  }

  /** Path of the blob's file. Throws UNAVAILABLE where no URL has it, PROTOCOL for wrong content. */
  async path(sha256: string, extension: "json" | "mjs", ticket: string): Promise<string> {
    if (!HASH.test(sha256)) throw new SkeinError("PROTOCOL", "A blob is named by something that is not a SHA-256.");
    const path = join(this.folder, `${sha256}.${extension}`);
    let fetching = this.#fetching.get(path);
    if (fetching === undefined) {
      fetching = this.#ensure(path, sha256, ticket).finally(() => this.#fetching.delete(path));
      this.#fetching.set(path, fetching);
    }
    return fetching;
  }

  async #ensure(path: string, sha256: string, ticket: string): Promise<string> {
    const there = await readFile(path).catch(() => null);
    if (there !== null && (await sha256Hex(there)) === sha256) {
      touch(path, Date.now());
      return path;
    }
    const bytes = await this.#fetch(sha256, ticket);
    if ((await sha256Hex(bytes)) !== sha256)
      throw new SkeinError("PROTOCOL", `The mesh sent other content than ${sha256.slice(0, 12)} asks for.`);
    await mkdir(this.folder, { recursive: true });
    const partial = `${path}.partial-${randomUUID()}`;
    try {
      await writeFile(partial, bytes);
      await rename(partial, path);
    } catch (cause) {
      throw (cause as NodeJS.ErrnoException).code === "ENOSPC"
        ? new SkeinError(
            "UNAVAILABLE",
            `The disk is full: the application's code doesn't fit under ${this.folder}. Free some space, or choose another data directory with SKEIN_DATA_DIR.`,
            { cause },
          )
        : cause;
    } finally {
      await rm(partial, { force: true });
    }
    this.#prune();
    return path;
  }

  #prune(): void {
    try {
      prune(this.folder, new Set(), Date.now(), { graceMs: BUNDLE_GRACE_MS, bytesMax: this.#bytesMax });
    } catch {
      // A file that can't be deleted must not keep a replica from starting.
    }
  }

  async #fetch(sha256: string, ticket: string): Promise<Uint8Array> {
    let last: unknown = new SkeinError("UNAVAILABLE", "No URL of the mesh is known.");
    for (const base of this.#meshUrls) {
      try {
        return await download(endpoint(base, "http", `/blobs/${sha256}`), ticket);
      } catch (thrown) {
        last = thrown;
      }
    }
    throw last;
  }
}

function download(address: string, ticket: string): Promise<Uint8Array> {
  const { url, options } = dial(address);
  return new Promise((resolve, reject) => {
    const fail = (why: string): void =>
      reject(
        new SkeinError(
          "UNAVAILABLE",
          `The application's code could not be fetched from ${new URL(url).origin}: ${why}.`,
        ),
      );
    const get = url.startsWith("https:") ? getHttps : getHttp;
    const request = get(
      url,
      { ...options, headers: { authorization: `Bearer ${ticket}` }, timeout: BLOB_TIMEOUT_MS },
      (response: IncomingMessage) => {
        if (response.statusCode !== 200) {
          response.resume();
          fail(`it answered ${response.statusCode}`);
          return;
        }
        const parts: Buffer[] = [];
        let bytes = 0;
        response.on("data", (part: Buffer) => {
          bytes += part.byteLength;
          if (bytes > BLOB_MAX) request.destroy(new Error(`it is larger than ${BLOB_MAX} bytes`));
          else parts.push(part);
        });
        response.on("end", () => (response.complete ? resolve(Buffer.concat(parts)) : fail("the connection broke")));
        response.on("error", (error) => fail(error.message));
      },
    );
    request.on("timeout", () => request.destroy(new Error(`nothing came for ${BLOB_TIMEOUT_MS / 1000} s`)));
    request.on("error", (error) => fail(error.message));
  });
}
