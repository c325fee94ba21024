/**
 * Writes a file that is accepted only with a given size and hash, hashing while it writes. Knows the disk and nothing of sources.
 * A target path has either the whole right content or none: bytes go to `partial`, which is renamed when it is right.
 */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { SkeinError } from "../../protocol/errors.ts";
import { sizeOnDisk } from "./failure.ts";

/** What is accepted. Hubs name large files by their SHA-256, small ones as git names its blobs: by the SHA-1 of a head and the bytes. */
export type Content = { readonly bytes: number } & ({ readonly sha256: string } | { readonly gitBlob: string });

/** The one hash that a content is known by, hex. */
export const hashOf = (content: Content): string => ("sha256" in content ? content.sha256 : content.gitBlob);

function hasherOf(content: Content): Hash {
  return "sha256" in content ? createHash("sha256") : createHash("sha1").update(`blob ${content.bytes}\0`);
}

/** Hash of a whole file, hex: its SHA-256, or of the kind that `content` is known by. */
export async function hashFile(path: string, content?: Content): Promise<string> {
  const hash = content === undefined ? createHash("sha256") : hasherOf(content);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** Appends to `partial` and finishes into `target`. Make one with `openPartial`; `close` keeps the partial for the next time. */
export class PartialFile {
  readonly #file: FileHandle;
  readonly #hash: Hash;
  readonly #path: string;
  readonly #content: Content;
  #bytes: number;

  constructor(file: FileHandle, hash: Hash, path: string, content: Content, bytes: number) {
    this.#file = file;
    this.#hash = hash;
    this.#path = path;
    this.#content = content;
    this.#bytes = bytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get complete(): boolean {
    return this.#bytes === this.#content.bytes;
  }

  /** Throws `INVALID_ARGUMENT` when the content would grow beyond its size. */
  async append(chunk: Uint8Array): Promise<void> {
    if (this.#bytes + chunk.byteLength > this.#content.bytes) {
      throw new SkeinError("INVALID_ARGUMENT", `more than the expected ${this.#content.bytes} bytes`);
    }
    for (let at = 0; at < chunk.byteLength;) {
      const { bytesWritten } = await this.#file.write(chunk, at, chunk.byteLength - at, this.#bytes + at);
      at += bytesWritten;
    }
    this.#hash.update(chunk);
    this.#bytes += chunk.byteLength;
  }

  /** Accepts the file as `target`, or throws `INVALID_ARGUMENT` with both hashes and removes what was written. */
  async finish(target: string): Promise<void> {
    const hash = this.#hash.digest("hex");
    if (!this.complete || hash !== hashOf(this.#content)) {
      await this.close();
      await rm(this.#path, { force: true });
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `the file is not the expected one: ${this.#bytes} bytes with ${"sha256" in this.#content ? "SHA-256" : "git's hash"} ${hash}, ` +
          `expected ${this.#content.bytes} bytes with ${hashOf(this.#content)}`,
      );
    }
    await this.#file.sync();
    await this.close();
    await rename(this.#path, target);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}

/** Opens `path` for appending. With `resume`, what an earlier attempt left counts (and is hashed); else it starts empty. */
export async function openPartial(path: string, content: Content, resume: boolean): Promise<PartialFile> {
  await mkdir(dirname(path), { recursive: true });
  const left = resume ? await sizeOnDisk(path) : 0;
  const kept = left <= content.bytes ? left : 0;
  const file = await open(path, kept > 0 ? "r+" : "w");
  const hash = hasherOf(content);
  if (kept > 0) for await (const chunk of createReadStream(path, { end: kept - 1 })) hash.update(chunk as Buffer);
  return new PartialFile(file, hash, path, content, kept);
}
