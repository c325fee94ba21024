/**
 * Random access to the bytes of a checkpoint. Knows nothing of GGUF, files or networks: a Node file, a Blob of the origin's
 * private file system and a plain array all look the same.
 */

export interface ByteSource {
  /** In bytes. */
  readonly size: number;
  /** Exactly `length` bytes from `offset`; rejects when they aren't there. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** Reads views of `bytes`, without copies. */
export function sourceOfBytes(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.byteLength,
    async read(offset, length) {
      assertInside(offset, length, bytes.byteLength);
      return bytes.subarray(offset, offset + length);
    },
  };
}

/** Reads parts of a Blob, which may lie on disk (a tab's OPFS file, Node's `openAsBlob`). */
export function sourceOfBlob(blob: Blob): ByteSource {
  return {
    size: blob.size,
    async read(offset, length) {
      assertInside(offset, length, blob.size);
      return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
    },
  };
}

/** Throws a RangeError unless `offset .. offset + length` lies within `size` bytes. */
export function assertInside(offset: number, length: number, size: number): void {
  if (offset < 0 || length < 0 || offset + length > size) {
    throw new RangeError(`bytes ${offset} to ${offset + length} were asked for, but there are only ${size}`);
  }
}

/** Several sources as one, one after the other. A read must lie within one of them. */
export function joinSources(sources: readonly ByteSource[]): ByteSource {
  const size = sources.reduce((sum, source) => sum + source.size, 0);
  return {
    size,
    async read(offset, length) {
      assertInside(offset, length, size);
      let start = offset;
      for (const source of sources) {
        if (start < source.size || (length === 0 && start === source.size)) return source.read(start, length);
        start -= source.size;
      }
      return new Uint8Array(0);
    },
  };
}
