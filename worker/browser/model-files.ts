/**
 * A model's files at the mesh, as a tab reads them. What is small comes whole when it is asked for; the rest by ranges, for its header, until
 * it is fetched whole. Whole files are checked by their SHA-256 while they come, where the listing has it, and are Blobs, which a browser may
 * keep on its disk. How the network is asked is an argument.
 */
import { sha256 } from "@noble/hashes/sha2";
import { type ByteSource, assertInside, sourceOfBlob } from "../../engine/gguf/source.ts";
import type { RepositoryFiles } from "../../engine/safetensors/files.ts";
import { SkeinError } from "../../protocol/errors.ts";
import type { ListedFile, ModelListing } from "../../protocol/model-listing.ts";
import { BLOB_PIECE_BYTES, MODEL_FRUITLESS_MAX, MODEL_SMALL_MAX, MODEL_STALL_MS } from "./limits.ts";

export interface FilesAtMesh {
  readonly url: string;
  readonly listing: ModelListing;
  readonly authorization: string;
}

/** Bytes that have come, of all files that are fetched. */
export type OnFetched = (bytes: number) => void;

export class ModelFiles implements RepositoryFiles {
  readonly #mesh: FilesAtMesh;
  readonly #fetch: typeof globalThis.fetch;
  readonly #onFetched: OnFetched;
  readonly #files: ReadonlyMap<string, ListedFile>;
  readonly #whole = new Map<string, Promise<Blob>>();

  constructor(mesh: FilesAtMesh, fetch: typeof globalThis.fetch, onFetched: OnFetched) {
    this.#mesh = mesh;
    this.#fetch = fetch;
    this.#onFetched = onFetched;
    this.#files = new Map(mesh.listing.files.map((file) => [file.file, file]));
  }

  async open(name: string): Promise<ByteSource | undefined> {
    const file = this.#files.get(name);
    if (file === undefined) return undefined;
    return file.bytes <= MODEL_SMALL_MAX || this.#whole.has(name)
      ? sourceOfBlob(await this.whole(name))
      : this.#ranges(file);
  }

  /** All of it. Rejects with `UNAVAILABLE` when the mesh keeps cutting off, with `PROTOCOL` for other content than the listing says. */
  whole(name: string): Promise<Blob> {
    const file = this.#files.get(name);
    if (file === undefined) return Promise.reject(new SkeinError("NOT_FOUND", `the model has no file ${name}`));
    let blob = this.#whole.get(name);
    if (blob === undefined) {
      blob = this.#receive(file);
      this.#whole.set(name, blob);
      blob.catch(() => this.#whole.delete(name));
    }
    return blob;
  }

  /** Every file, one after the other. */
  async fetchAll(): Promise<void> {
    for (const name of this.#files.keys()) await this.whole(name);
  }

  async #receive(file: ListedFile): Promise<Blob> {
    const hash = file.sha256 === null ? undefined : sha256.create();
    const pieces = new Pieces();
    let failure: unknown;
    for (let fruitless = 0; pieces.bytes < file.bytes && fruitless < MODEL_FRUITLESS_MAX;) {
      const before = pieces.bytes;
      try {
        for await (const chunk of this.#stream(file, pieces.bytes, file.bytes - 1)) {
          if (pieces.bytes + chunk.byteLength > file.bytes) throw this.#other(file, "more bytes");
          hash?.update(chunk);
          pieces.add(chunk);
          this.#onFetched(chunk.byteLength);
        }
      } catch (thrown) {
        if (thrown instanceof SkeinError) throw thrown;
        failure = thrown;
      }
      fruitless = pieces.bytes > before ? 0 : fruitless + 1;
    }
    if (pieces.bytes < file.bytes)
      throw new SkeinError(
        "UNAVAILABLE",
        `the mesh cut ${file.file} off again and again, at byte ${pieces.bytes} of ${file.bytes} (${failure instanceof Error ? failure.message : "it ended too early"})`,
        { cause: failure },
      );
    if (hash !== undefined && hex(hash.digest()) !== file.sha256) throw this.#other(file, "other bytes");
    return pieces.blob();
  }

  #ranges(file: ListedFile): ByteSource {
    return {
      size: file.bytes,
      read: async (offset, length) => {
        assertInside(offset, length, file.bytes);
        const bytes = new Uint8Array(length);
        let at = 0;
        if (length > 0)
          for await (const chunk of this.#stream(file, offset, offset + length - 1)) {
            if (at + chunk.byteLength > length) throw this.#other(file, "more bytes");
            bytes.set(chunk, at);
            at += chunk.byteLength;
          }
        if (at < length) throw new SkeinError("UNAVAILABLE", `the mesh sent too little of ${file.file}`);
        return bytes;
      },
    };
  }

  /** Bytes `from` to `to`, both included. */
  async *#stream({ file }: ListedFile, from: number, to: number): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { url, authorization } = this.#mesh;
    const stalled = new AbortController();
    const watch = (): ReturnType<typeof setTimeout> =>
      setTimeout(() => stalled.abort(new Error(`nothing came for ${MODEL_STALL_MS / 1000} s`)), MODEL_STALL_MS);
    let timer = watch();
    try {
      const answer = await this.#fetch(`${url}/${encodeURIComponent(file)}`, {
        headers: { authorization, range: `bytes=${from}-${to}` },
        signal: stalled.signal,
        cache: "no-store",
      });
      if (answer.status !== 206 || answer.body === null) {
        const why = (await answer.text()).slice(0, 300);
        throw new SkeinError("UNAVAILABLE", `the mesh answered ${answer.status} when asked for ${file}: ${why}`);
      }
      const reader = answer.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = watch();
        yield value;
      }
    } finally {
      clearTimeout(timer);
      stalled.abort();
    }
  }

  #other({ file }: ListedFile, what: string): SkeinError {
    return new SkeinError("PROTOCOL", `the mesh sent ${what} than ${file} has: its copy is damaged, or was changed`);
  }
}

/** A Blob that grows: what has come is handed to the browser in pieces, which needn't keep it in this thread's memory. */
class Pieces {
  bytes = 0;
  readonly #blobs: Blob[] = [];
  #waiting: Uint8Array<ArrayBuffer>[] = [];
  #waitingBytes = 0;

  add(chunk: Uint8Array<ArrayBuffer>): void {
    this.bytes += chunk.byteLength;
    this.#waiting.push(chunk);
    this.#waitingBytes += chunk.byteLength;
    if (this.#waitingBytes >= BLOB_PIECE_BYTES) this.#hand();
  }

  blob(): Blob {
    this.#hand();
    return new Blob(this.#blobs);
  }

  #hand(): void {
    if (this.#waitingBytes > 0) this.#blobs.push(new Blob(this.#waiting));
    this.#waiting = [];
    this.#waitingBytes = 0;
  }
}

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
