/** Files as byte sources and as weights, for Node. */
import { closeSync, openSync, readSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { assertInside, type ByteSource } from "../gguf/source.ts";
import type { Weights } from "../prepare.ts";

/** Reads from an open file; the caller closes it. */
export async function sourceOfFile(file: FileHandle): Promise<ByteSource> {
  const { size } = await file.stat();
  return {
    size,
    async read(offset, length) {
      assertInside(offset, length, size);
      const bytes = new Uint8Array(length);
      let filled = 0;
      while (filled < length) {
        const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
        if (bytesRead === 0)
          throw new Error(`the file ended at byte ${offset + filled} while being read: something else is changing it`);
        filled += bytesRead;
      }
      return bytes;
    },
  };
}

/** Weights that stay on disk: each `subarray` reads its part, and nothing is kept open in between. */
export function weightsOfFile(path: string, byteLength: number): Weights {
  return {
    byteLength,
    subarray(start, end) {
      assertInside(start, end - start, byteLength);
      const bytes = new Uint8Array(end - start);
      const descriptor = openSync(path, "r");
      try {
        let filled = 0;
        while (filled < bytes.byteLength) {
          const count = readSync(descriptor, bytes, filled, bytes.byteLength - filled, start + filled);
          if (count === 0) throw new Error(`${path} ended at byte ${start + filled}, but it should have ${byteLength}`);
          filled += count;
        }
      } finally {
        closeSync(descriptor);
      }
      return bytes;
    },
  };
}
