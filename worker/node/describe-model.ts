/** What a checkpoint on this disk is, from its headers alone. */
import { openCheckpointFile } from "../../engine/node/checkpoint-file.ts";
import { openGraphFile } from "../../engine/node/graph-file.ts";
import { type TextTask, textTaskOf } from "../../engine/graph-model.ts";
import { kvBytesPerToken } from "../../engine/slot-budget.ts";
import type { ValueFacts } from "../../engine/tensor.ts";
import { SkeinError } from "../../protocol/errors.ts";
import type { Weights } from "../models/about.ts";

interface LanguageModelFacts {
  readonly kind: "language model";
  readonly architecture: string;
  readonly layers: number;
  /** Of prompt and answer, in tokens. */
  readonly contextLength: number;
  readonly vocabulary: number;
  /** Bytes of keys and values that a token takes in a slot. */
  readonly bytesPerToken: number;
  /** Bytes of weights in memory, by provider. */
  readonly weights: Weights;
  /** Whether it knows turns of a chat. */
  readonly hasChatTemplate: boolean;
}

/** An encoder, or an ONNX file. */
interface GraphModelFacts {
  readonly kind: "graph";
  readonly inputs: readonly ValueFacts[];
  readonly outputs: readonly ValueFacts[];
  /** null: it takes tensors only. */
  readonly task: TextTask | null;
  /** Of a text with what is put around it, in tokens; null where it takes none. */
  readonly contextLength: number | null;
  readonly labels: readonly string[];
}

export type ModelFacts = LanguageModelFacts | GraphModelFacts;

/** Throws `UNIMPLEMENTED` with the reason where it can't be run. */
export async function describeModel(path: string): Promise<ModelFacts> {
  try {
    return (await graphFacts(path)) ?? (await decoderFacts(path));
  } catch (cause) {
    throw new SkeinError("UNIMPLEMENTED", cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

async function decoderFacts(path: string): Promise<LanguageModelFacts> {
  const file = await openCheckpointFile(path);
  try {
    const { preparation } = await file.plan({ target: "native" });
    const bytesFor = async (target: "webgpu" | "wasm"): Promise<number> =>
      (await file.plan({ target })).preparation.layout.byteLength;
    const { architecture, layers, contextLength, vocabulary } = preparation.config;
    return {
      kind: "language model",
      architecture,
      layers,
      contextLength,
      vocabulary,
      bytesPerToken: kvBytesPerToken(preparation.config),
      weights: {
        native: preparation.layout.byteLength,
        webgpu: await bytesFor("webgpu"),
        wasm: await bytesFor("wasm"),
      },
      hasChatTemplate: preparation.tokenizer.chatTemplate !== undefined,
    };
  } finally {
    await file.close();
  }
}

/** Undefined where it is no such graph. */
async function graphFacts(path: string): Promise<GraphModelFacts | undefined> {
  const file = await openGraphFile(path);
  if (file === undefined) return undefined;
  try {
    const { inputs, outputs, text } = await file.describe();
    const task = text === undefined ? undefined : textTaskOf({ inputs, outputs });
    return {
      kind: "graph",
      inputs,
      outputs,
      task: task ?? null,
      contextLength: task === undefined ? null : text!.maxTokens,
      labels: task === "classification" ? text!.labels : [],
    };
  } finally {
    await file.close();
  }
}
