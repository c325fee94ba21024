/** What a checkpoint on this disk is, from its headers alone. */
import { stat } from "node:fs/promises";
import { openCheckpointFile } from "../../engine/node/checkpoint-file.ts";
import { Folder } from "../../engine/node/folder.ts";
import { openEncoderRepository } from "../../engine/safetensors/encoder.ts";
import { SkeinError } from "../../protocol/errors.ts";

export interface ModelFacts {
  readonly kind: "language model" | "encoder";
  readonly architecture: string;
  readonly layers: number;
  /** Of a text with what is put around it, or of prompt and answer, in tokens. */
  readonly contextLength: number;
  readonly vocabulary: number;
  /** Bytes of keys and values that a token takes in a slot; an encoder keeps none. */
  readonly bytesPerToken: number;
  /** Whether it knows turns of a chat. */
  readonly hasChatTemplate: boolean;
}

/** Throws `UNIMPLEMENTED` with the reason where it can't be run. */
export async function describeModel(path: string): Promise<ModelFacts> {
  const isFolder = (await stat(path)).isDirectory();
  const encoder = isFolder ? await encoderFacts(path) : undefined;
  if (encoder !== undefined) return encoder;
  const file = await openCheckpointFile(path);
  try {
    const { preparation } = await file.plan({ target: "f32" });
    const { architecture, layers, kvHeads, headDim, contextLength, vocabulary } = preparation.config;
    return {
      kind: "language model",
      architecture,
      layers,
      contextLength,
      vocabulary,
      // Keys and values, f32.
      bytesPerToken: layers * kvHeads * headDim * 2 * 4,
      hasChatTemplate: preparation.tokenizer.chatTemplate !== undefined,
    };
  } catch (cause) {
    throw new SkeinError("UNIMPLEMENTED", cause instanceof Error ? cause.message : String(cause), { cause });
  } finally {
    await file.close();
  }
}

/** Undefined where the folder is no encoder. */
async function encoderFacts(path: string): Promise<ModelFacts | undefined> {
  const folder = new Folder(path);
  try {
    const { config } = (await openEncoderRepository(folder)).checkpoint;
    const { architecture, layers, maxTokens, vocabulary } = config;
    return {
      kind: "encoder",
      architecture,
      layers,
      contextLength: maxTokens,
      vocabulary,
      bytesPerToken: 0,
      hasChatTemplate: false,
    };
  } catch {
    return undefined;
  } finally {
    await folder.close();
  }
}
