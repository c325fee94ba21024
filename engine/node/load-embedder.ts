/** Loads an embedder in Node from the folder of a repository: its tensors go through memory one at a time, into one copy of the weights. */
import { Embedder } from "../embedder.ts";
import { emitEncoder } from "../onnx/encoder.ts";
import { streamWeights } from "../prepare.ts";
import { createEncoder } from "../providers/encoder.ts";
import { loadNativeRuntime } from "../providers/native.ts";
import { openEncoderRepository } from "../safetensors/encoder.ts";
import { Folder } from "./folder.ts";

export interface LoadedEmbedder {
  readonly embedder: Embedder;
  release(): Promise<void>;
}

/** Throws CheckpointError for a folder that is no encoder that can be run, and what `loadNativeRuntime` throws. */
export async function loadEmbedder(
  folder: string,
  { provider, threads }: { readonly provider: "native" | "wasm"; readonly threads: number },
): Promise<LoadedEmbedder> {
  const files = new Folder(folder);
  try {
    const { checkpoint, source } = await openEncoderRepository(files);
    const { layout, ...emitted } = emitEncoder(checkpoint, { target: provider });
    const weights = new Uint8Array(layout.byteLength);
    await streamWeights(layout, source, (offset, bytes) => weights.set(bytes, offset));
    const isNative = provider === "native";
    const runtime = isNative ? await loadNativeRuntime() : await import("onnxruntime-web");
    const options = { provider: isNative ? "cpu" : "wasm", threads } as const;
    const { run, release } = await createEncoder(runtime, emitted, weights, options);
    return { embedder: new Embedder(checkpoint, run), release };
  } finally {
    await files.close();
  }
}
