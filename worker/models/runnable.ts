/** Finds out whether the engine can run a model before its weights are fetched: from config.json, or from a GGUF file's header by ranges. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointError } from "../../engine/gguf/error.ts";
import type { ByteSource } from "../../engine/gguf/source.ts";
import { planPreparation } from "../../engine/prepare.ts";
import { parseJson } from "../../engine/safetensors/json.ts";
import { assertNoOnnxDecoder, assertRunnableConfig } from "../../engine/safetensors/runnable.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { HUB_ENDPOINT } from "./catalogue.ts";
import type { FetchOptions } from "./fetch-repository.ts";
import { authorization, type HubFile, hubUrl } from "./hub.ts";
import { parseHubName } from "./hub-listing.ts";
import { HUB_STALL_TIMEOUT_MS } from "./limits.ts";

/**
 * `folder` has what came before the weights; `weights` is the first file of them, `name` what the user called the model. Throws
 * `UNIMPLEMENTED` with what isn't supported.
 */
export async function assertRunnable(
  folder: string,
  weights: HubFile,
  name: string,
  options: FetchOptions,
): Promise<void> {
  const { file } = weights.hub;
  try {
    if (file.endsWith(".gguf")) await planPreparation(rangesOf(weights, options), { target: "f32" });
    else if (/\.onnx/.test(file)) {
      // Who names the file wants the graph as it is.
      const config = parseHubName(name)?.file === file ? undefined : await readOptional(join(folder, "config.json"));
      if (config !== undefined) assertNoOnnxDecoder(parseJson(config, "config.json"), file);
    } else assertRunnableConfig(await readFile(join(folder, "config.json")));
  } catch (thrown) {
    if (thrown instanceof CheckpointError)
      throw new SkeinError("UNIMPLEMENTED", `${weights.hub.repository} can't be run: ${thrown.message}`, {
        cause: thrown,
      });
    throw thrown;
  }
}

const readOptional = (path: string): Promise<Uint8Array | undefined> => readFile(path).catch(() => undefined);

/** A file of the hub, read by ranges. */
function rangesOf(file: HubFile, { fetch, hubEndpoint = HUB_ENDPOINT, hubToken, signal }: FetchOptions): ByteSource {
  return {
    size: file.bytes,
    async read(offset, length) {
      const timeout = AbortSignal.timeout(HUB_STALL_TIMEOUT_MS);
      const response = await fetch(hubUrl(hubEndpoint, file.hub), {
        headers: {
          range: `bytes=${offset}-${offset + length - 1}`,
          "accept-encoding": "identity",
          ...authorization(hubToken),
        },
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      });
      if (response.status !== 206 && response.status !== 200) {
        await response.body?.cancel();
        throw new SkeinError("UNAVAILABLE", `${hubEndpoint} answered ${response.status} for ${file.hub.repository}`);
      }
      return firstBytes(response, response.status === 200 ? offset : 0, length);
    },
  };
}

/** `length` bytes after `skip`: a server that ignores ranges sends everything. */
async function firstBytes(response: Response, skip: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let at = -skip;
  for await (const chunk of response.body ?? []) {
    const part = chunk.subarray(Math.max(0, -at), Math.max(0, length - at));
    bytes.set(part, Math.max(0, at));
    at += chunk.byteLength;
    if (at >= length) return bytes;
  }
  throw new SkeinError("UNAVAILABLE", "the hub's answer ended too early");
}
