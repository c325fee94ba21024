/** Whether a repository can be run, from its config.json alone: for those who are about to fetch the rest. */
import { readRepositoryConfig } from "./config.ts";
import { isEncoderConfig } from "./encoder.ts";
import { type JsonRecord, parseJson } from "./json.ts";

/** Throws CheckpointError with the name of what isn't supported. */
export function assertRunnableConfig(bytes: Uint8Array): void {
  const config = parseJson(bytes, "config.json");
  if (!isEncoderConfig(config)) readRepositoryConfig(config);
}

/** Whether a model generates text: its ONNX file is a store of weights then, and not run as it is. */
export function isDecoderConfig(config: JsonRecord): boolean {
  const classes = config["architectures"];
  const name: unknown = Array.isArray(classes) ? classes[0] : undefined;
  return typeof name === "string" && /For(CausalLM|ConditionalGeneration|Seq2SeqLM)$/.test(name);
}
