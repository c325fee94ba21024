/** The files of a repository as far as a model needs them: small ones as JSON, the shards as one source. Knows names and bounds. */
import { CheckpointError } from "../gguf/error.ts";
import { type ByteSource, joinSources } from "../gguf/source.ts";
import { readSafetensorsHeader, type SafetensorsTensor } from "./header.ts";
import { isRecord, type JsonRecord, parseJson } from "./json.ts";
import { REPOSITORY_LIMITS } from "./limits.ts";

/** A folder of files, wherever it lies: `open` gives undefined where there is no file of that name. */
export interface RepositoryFiles {
  open(name: string): Promise<ByteSource | undefined>;
}

/** Where a repository has its ONNX file, by preference: the folder's layout in onnx-community, and exporters' own. */
export const ONNX_PLACES = [
  "onnx/model.onnx",
  "model.onnx",
  "onnx/model_fp16.onnx",
  "onnx/model_q4f16.onnx",
  "onnx/model_q4.onnx",
  "onnx/model_quantized.onnx",
  "onnx/model_int8.onnx",
  "onnx/model_uint8.onnx",
  "model_quantized.onnx",
] as const;
const SINGLE = "model.safetensors";
/** Which tensor is in which shard; a model of one file has none. */
export const SHARD_INDEX = "model.safetensors.index.json";
/** A shard lies beside its index: no other folder's file is ever opened. */
const SHARD_NAME = /^[\w-][\w.-]*\.safetensors$/;

async function bytesOfFile(files: RepositoryFiles, name: string, mostBytes: number): Promise<Uint8Array | undefined> {
  const source = await files.open(name);
  if (source === undefined) return undefined;
  if (source.size > mostBytes)
    throw new CheckpointError(`${name} has ${source.size} bytes, more than the ${mostBytes} allowed`);
  return source.read(0, source.size);
}

/** The object in a JSON file; undefined where there is no such file. */
export async function readJsonFile(
  files: RepositoryFiles,
  name: string,
  mostBytes: number = REPOSITORY_LIMITS.configBytes,
): Promise<JsonRecord | undefined> {
  const bytes = await bytesOfFile(files, name, mostBytes);
  return bytes && parseJson(bytes, name);
}

/** The same of a file that must be there. */
export async function requireJsonFile(files: RepositoryFiles, name: string, mostBytes?: number): Promise<JsonRecord> {
  const value = await readJsonFile(files, name, mostBytes);
  if (value === undefined) throw new CheckpointError(`the repository has no ${name}`);
  return value;
}

export async function readTextFile(files: RepositoryFiles, name: string): Promise<string | undefined> {
  const bytes = await bytesOfFile(files, name, REPOSITORY_LIMITS.configBytes);
  return bytes && new TextDecoder().decode(bytes);
}

/** All tensors of all shards, with their offsets in the shards' joined source. Reads headers only. */
export async function openShards(
  files: RepositoryFiles,
): Promise<{ readonly source: ByteSource; readonly tensors: ReadonlyMap<string, SafetensorsTensor> }> {
  const sources: ByteSource[] = [];
  const tensors = new Map<string, SafetensorsTensor>();
  let base = 0;
  for (const name of await shardNames(files)) {
    const source = await files.open(name);
    if (source === undefined) throw new CheckpointError(`the repository has no ${name}: fetch it again`);
    for (const [tensor, description] of await readSafetensorsHeader(source, name)) {
      if (tensors.has(tensor))
        throw new CheckpointError(`tensor ${JSON.stringify(tensor)} is in two shards: the repository is damaged`);
      tensors.set(tensor, { ...description, offset: base + description.offset });
    }
    sources.push(source);
    base += source.size;
  }
  return { source: joinSources(sources), tensors };
}

/** The ONNX file of a repository that has no safetensors; undefined: none. */
export async function onnxFile(files: RepositoryFiles): Promise<string | undefined> {
  if ((await files.open((await shardNames(files))[0]!)) !== undefined) return undefined;
  for (const place of ONNX_PLACES) if ((await files.open(place)) !== undefined) return place;
  return undefined;
}

/** The shards that hold the model, in a fixed order. */
export async function shardNames(files: RepositoryFiles): Promise<readonly string[]> {
  const index = await readJsonFile(files, SHARD_INDEX, REPOSITORY_LIMITS.indexBytes);
  if (index === undefined) return [SINGLE];
  const map = index["weight_map"];
  const names = isRecord(map) ? [...new Set(Object.values(map))] : [];
  if (names.length === 0 || names.length > REPOSITORY_LIMITS.shards)
    throw new CheckpointError(
      `${SHARD_INDEX} names ${names.length} shards; 1 to ${REPOSITORY_LIMITS.shards} are expected`,
    );
  return names
    .map((name) => {
      if (typeof name !== "string" || !SHARD_NAME.test(name))
        throw new CheckpointError(
          `${SHARD_INDEX} names a shard ${JSON.stringify(name)?.slice(0, 100)}, which is not the name of a safetensors file`,
        );
      return name;
    })
    .toSorted();
}
