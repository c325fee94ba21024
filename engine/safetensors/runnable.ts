/** Whether a repository can be run, from its config.json alone: for those who are about to fetch the rest. */
import { readRepositoryConfig } from "./config.ts";
import { isEncoderConfig } from "./encoder.ts";
import { CheckpointError } from "../gguf/error.ts";
import { type JsonRecord, parseJson } from "./json.ts";

/** Throws CheckpointError with the name of what isn't supported. */
export function assertRunnableConfig(bytes: Uint8Array): void {
  const config = parseJson(bytes, "config.json");
  if (!isEncoderConfig(config)) readRepositoryConfig(config);
}

/** Throws CheckpointError where a folder with the ONNX file `file` is that of a model which generates text. */
export function assertNoOnnxDecoder(config: JsonRecord, file: string): void {
  const classes = config["architectures"];
  const name: unknown = Array.isArray(classes) ? classes[0] : undefined;
  if (typeof name !== "string" || !/For(CausalLM|ConditionalGeneration|Seq2SeqLM)$/.test(name)) return;
  throw new CheckpointError(
    `the ONNX folder of a language model (${name}) is not supported: take its GGUF file or safetensors repository, or name the file (${file}) to run the graph as it is`,
  );
}
