/** Finds out whether the engine can run a model before its weights are fetched: from config.json, or from a GGUF file's header by ranges. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointError } from "../../engine/gguf/error.ts";
import type { ByteSource } from "../../engine/gguf/source.ts";
import { planPreparation } from "../../engine/prepare.ts";
import { parseJson } from "../../engine/safetensors/json.ts";
import { assertRunnableConfig, isDecoderConfig } from "../../engine/safetensors/runnable.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { rangesOf } from "./download.ts";
import type { FetchOptions } from "./fetch-repository.ts";
import { type HubFile, hubFile } from "./hub.ts";
import { parseHubName } from "./hub-listing.ts";
import type { Patience } from "./patience.ts";

/**
 * `folder` has what came before the weights; `weights` is the first file of them, `name` what the user called the model. Throws
 * `UNIMPLEMENTED` with what isn't supported.
 */
export async function assertRunnable(
  folder: string,
  weights: HubFile,
  name: string,
  options: FetchOptions,
  patience: Patience,
): Promise<void> {
  const { file, repository } = weights.hub;
  if (file.endsWith(".gguf"))
    return assertRunnableGguf(rangesOf(hubFile(weights, options, patience), weights.bytes, options), repository);
  try {
    if (/\.onnx/.test(file)) {
      // Who names the file wants the graph as it is.
      const config = parseHubName(name)?.file === file ? undefined : await readOptional(join(folder, "config.json"));
      if (config !== undefined && isDecoderConfig(parseJson(config, "config.json"))) assertRunnableConfig(config);
    } else assertRunnableConfig(await readFile(join(folder, "config.json")));
  } catch (thrown) {
    throw refusal(thrown, repository);
  }
}

/** Reads the head of a GGUF file only. `what` it is called in the `UNIMPLEMENTED` that says what isn't supported. */
export async function assertRunnableGguf(source: ByteSource, what: string): Promise<void> {
  try {
    await planPreparation(source, { target: "f32" });
  } catch (thrown) {
    throw refusal(thrown, what);
  }
}

const refusal = (thrown: unknown, what: string): unknown =>
  thrown instanceof CheckpointError
    ? new SkeinError("UNIMPLEMENTED", `${what} can't be run: ${thrown.message}`, { cause: thrown })
    : thrown;

const readOptional = (path: string): Promise<Uint8Array | undefined> => readFile(path).catch(() => undefined);
