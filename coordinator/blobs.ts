/**
 * BlobStore: bundles, manifests and assets by SHA-256, in one folder, each file named by its hash.
 * A blob is verified while it streams in and appears only when it is whole; names never become paths.
 */
import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { SkeinError } from "../protocol/errors.ts";
import type { Sha256 } from "../protocol/ids.ts";
import type { Retention } from "../protocol/blob-retention.ts";
import { BLOB_MAX } from "../protocol/limits.ts";
import { prune, touch } from "../protocol/node/blob-folder.ts";

export interface BlobStore {
  /** Size in bytes, or null when it isn't there. Who asks wants to use it: it isn't collected for BLOB_GRACE_MS. */
  size(hash: Sha256): Promise<number | null>;
  /** @throws INVALID_ARGUMENT when the bytes have another hash, TOO_LARGE beyond BLOB_MAX; nothing is left behind */
  put(hash: Sha256, bytes: AsyncIterable<Uint8Array>): Promise<void>;
  /** Bytes `from` to `to` (inclusive). The caller has asked for `size` before. */
  read(hash: Sha256, from: number, to: number): AsyncIterable<Uint8Array>;
  text(hash: Sha256): Promise<string>;
}

export const isSha256 = (text: string): text is Sha256 => /^[0-9a-f]{64}$/.test(text);

export class FolderBlobs implements BlobStore {
  readonly folder: string;
  readonly #now: () => number;

  /** @param now ms since 1970 */
  constructor(folder: string, now: () => number) {
    this.folder = folder;
    this.#now = now;
  }

  async size(hash: Sha256): Promise<number | null> {
    if (!isSha256(hash)) return null;
    try {
      const { size } = await stat(join(this.folder, hash));
      touch(join(this.folder, hash), this.#now());
      return size;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    }
  }

  async put(hash: Sha256, bytes: AsyncIterable<Uint8Array>): Promise<void> {
    if (!isSha256(hash)) throw new SkeinError("INVALID_ARGUMENT", "A blob is named by its SHA-256 in lower-case hex.");
    await mkdir(this.folder, { recursive: true });
    const temporary = join(this.folder, `.incoming-${randomUUID()}`);
    const file = await open(temporary, "wx", 0o600);
    try {
      const digest = createHash("sha256");
      let size = 0;
      for await (const piece of bytes) {
        size += piece.byteLength;
        if (size > BLOB_MAX) throw new SkeinError("TOO_LARGE", `A blob may have ${BLOB_MAX} bytes at most.`);
        digest.update(piece);
        await file.write(piece);
      }
      const found = digest.digest("hex");
      if (found !== hash)
        throw new SkeinError("INVALID_ARGUMENT", `The bytes have SHA-256 ${found}, not ${hash}: send them again.`);
      await file.sync();
      await file.close();
      await rename(temporary, join(this.folder, hash));
    } catch (error) {
      await file.close().catch(() => {});
      await rm(temporary, { force: true });
      if ((error as NodeJS.ErrnoException).code === "ENOSPC")
        throw new SkeinError(
          "UNAVAILABLE",
          "The disk is full: the blob could not be stored. Free some space and try again.",
          { cause: error },
        );
      throw error;
    }
  }

  read(hash: Sha256, from: number, to: number): AsyncIterable<Uint8Array> {
    return createReadStream(join(this.folder, hash), { start: from, end: Math.max(from, to) });
  }

  /** Deletes what is neither in use nor otherwise to be kept (what a killed coordinator left unfinished, too); returns its bytes. */
  prune(inUse: ReadonlySet<string>, nowMs: number, retention: Retention): number {
    return prune(this.folder, inUse, nowMs, retention).reduce((sum, { bytes }) => sum + bytes, 0);
  }

  text(hash: Sha256): Promise<string> {
    return readFile(join(this.folder, hash), "utf8");
  }
}
