/** A GGUF header as a checkpoint. Knows what llama.cpp's converter does to each architecture's tensors. */
import { type Checkpoint, type CheckpointTensor, rowsOf } from "../checkpoint.ts";
import { describeGgufTokenizer } from "../tokenizer/from-gguf.ts";
import type { ModelConfig } from "../types.ts";
import { readModelConfig, readTokenizerMetadata } from "./config.ts";
import { CheckpointError } from "./error.ts";
import type { GgufHeader } from "./header.ts";

/** Throws CheckpointError for whatever can't be run, by its name. */
export function ggufCheckpoint(header: GgufHeader): Checkpoint {
  const config = readModelConfig(header);
  return {
    config,
    tensors: splitFused(header.tensors, config),
    // The converter permutes these rows for llama alone; the other architectures keep them as in training.
    rotaryPairs: config.architecture === "llama" ? "neighbours" : "halves",
    normOffset: 0,
    tokenizer: describeGgufTokenizer(readTokenizerMetadata(header), {
      stripsAfterControl: config.architecture === "phi3",
    }),
  };
}

/** Projections that are stored as one matrix, as those that they consist of. */
export function splitFused(
  tensors: ReadonlyMap<string, CheckpointTensor>,
  { heads, kvHeads, headDim, feedForward }: ModelConfig,
): ReadonlyMap<string, CheckpointTensor> {
  const split = new Map<string, CheckpointTensor>();
  for (const [name, tensor] of tensors) {
    const [, block, part, kind] = /^(blk\.\d+)\.(attn_qkv|ffn_up)\.(weight|bias)$/.exec(name) ?? [];
    if (part === "attn_qkv") {
      const [q, kv] = [heads * headDim, kvHeads * headDim];
      assertRows(tensor, q + 2 * kv);
      split.set(`${block}.attn_q.${kind}`, rowsOf(tensor, 0, q));
      split.set(`${block}.attn_k.${kind}`, rowsOf(tensor, q, q + kv));
      split.set(`${block}.attn_v.${kind}`, rowsOf(tensor, q + kv, q + 2 * kv));
    } else if (part === "ffn_up" && !tensors.has(`${block}.ffn_gate.weight`)) {
      assertRows(tensor, 2 * feedForward);
      split.set(`${block}.ffn_gate.weight`, rowsOf(tensor, 0, feedForward));
      split.set(`${block}.ffn_up.weight`, rowsOf(tensor, feedForward, 2 * feedForward));
    } else split.set(name, tensor);
  }
  return split;
}

function assertRows({ name, shape }: CheckpointTensor, rows: number): void {
  if (shape[0] !== rows) {
    throw new CheckpointError(
      `tensor ${JSON.stringify(name)} has ${shape[0]} rows, but the configuration asks for ${rows}`,
    );
  }
}
