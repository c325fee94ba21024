/** A graph that isn't one of our decoders: an encoder that was emitted here, or an ONNX file as it came. JSON-safe but for the tokenizer. */
import type { JsonRecord } from "./safetensors/json.ts";
import type { ValueFacts } from "./tensor.ts";

/** How texts become the graph's inputs, and its outputs one row of numbers each. */
export interface TextSettings {
  /** Tokens of a text, with those that are put around it. */
  readonly maxTokens: number;
  /** Ids of the vocabulary. */
  readonly vocabulary: number;
  /** What fills up rows. */
  readonly padToken: number;
  /** How the tokens' vectors become one, where the graph doesn't do it. */
  readonly pooling: "mean" | "cls";
  /** Whether that one is brought to length 1. */
  readonly normalises: boolean;
  /** Names of the classes; empty where there are none. */
  readonly labels: readonly string[];
  /** Whether classes exclude each other (softmax) or not (sigmoid). */
  readonly isMultiLabel: boolean;
}

export interface TextModel extends TextSettings {
  /** The object of tokenizer.json, without padding and truncation. */
  readonly tokenizerJson: JsonRecord;
  /** The object of tokenizer_config.json. */
  readonly tokenizerConfig: JsonRecord;
}

export interface GraphFacts {
  readonly inputs: readonly ValueFacts[];
  readonly outputs: readonly ValueFacts[];
}

/** What a provider must know of a graph, wherever its bytes lie. */
export interface GraphDescription extends GraphFacts {
  /** The ModelProto; its external tensors lie beside it. */
  readonly file: string;
  readonly external: readonly string[];
  /** Emitted here for the provider: no node of it may run elsewhere. */
  readonly isOwn: boolean;
  /** Undefined where there is no tokenizer. */
  readonly text: TextModel | undefined;
}

/** Files of a graph by their names, in memory; a tab's Blob may lie on its disk. */
export type GraphContents = Readonly<Record<string, Uint8Array | Blob>>;

/** A graph ready to be loaded by a provider: its files are in a folder (Node), or come along (tabs). */
export type PreparedGraph = GraphDescription & ({ readonly directory: string } | { readonly contents: GraphContents });

/** What a text graph makes of a text. */
export type TextTask = "embedding" | "classification";

/** The output of a classifier, by the name that all exporters give it. */
export const LOGITS = "logits";

/** The inputs that texts give, by the names that exporters give them. */
const TEXT_INPUTS = ["input_ids", "attention_mask", "token_type_ids", "position_ids"] as const;
export type TextInput = (typeof TEXT_INPUTS)[number];

/** Undefined where it takes more than texts give, or gives nothing that is known. */
export function textTaskOf({ inputs, outputs }: GraphFacts): TextTask | undefined {
  const isFed = ({ name, type }: ValueFacts): boolean =>
    TEXT_INPUTS.some((known) => known === name) && ["int64", "int32", "float32"].includes(type ?? "");
  if (!inputs.every(isFed) || !inputs.some(({ name }) => name === "input_ids")) return undefined;
  if (outputs.some(({ name, shape }) => name === LOGITS && shape?.length === 2)) return "classification";
  return embeddingOutput(outputs) === undefined ? undefined : "embedding";
}

/** Vectors of whole texts first, else those of the tokens, by the names that exporters give them. */
export function embeddingOutput(outputs: readonly ValueFacts[]): ValueFacts | undefined {
  const named = (name: string): ValueFacts | undefined =>
    outputs.find((output) => output.name === name && output.type === "float32");
  return named("sentence_embedding") ?? named("last_hidden_state") ?? named("token_embeddings");
}
