/** Writes a model's weights into their file: one tensor at a time. */
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import type { ByteSource } from "../gguf/source.ts";
import { type WeightLayout, WEIGHTS_FILE } from "../onnx/graph.ts";
import { streamWeights } from "../prepare.ts";

/** Into a folder that has none yet. */
export async function writeWeights(
  directory: string,
  layout: WeightLayout,
  source: ByteSource,
  onProgress: (done: number, total: number) => void,
): Promise<void> {
  const weights = await open(join(directory, WEIGHTS_FILE), "wx");
  try {
    await streamWeights(
      layout,
      source,
      (offset, bytes) => writeAll(weights, bytes, offset),
      ({ done, total }) => onProgress(done, total),
    );
    await weights.truncate(layout.byteLength);
    // A cache entry is trusted for ever once renamed, so its bytes must be on the disk before its name is.
    await weights.datasync();
  } finally {
    await weights.close();
  }
}

/** A file handle may write less than it was given. */
async function writeAll(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  let written = 0;
  while (written < bytes.byteLength) {
    const { bytesWritten } = await file.write(bytes, written, bytes.byteLength - written, offset + written);
    written += bytesWritten;
  }
}
