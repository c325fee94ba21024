/** From `hf:owner/repository[@revision][:file]` to the files to fetch, by the hub's own listing. Knows which files a model consists of. */
import { ONNX_PLACES } from "../../engine/safetensors/files.ts";
import { SkeinError } from "../../protocol/errors.ts";
import type { CatalogueRepository } from "./catalogue.ts";
import { cancelled } from "./failure.ts";
import { authorization } from "./hub.ts";
import { HUB_LISTING_MAX, HUB_LISTING_TIMEOUT_MS, PATIENCE_MAX_MS } from "./limits.ts";
import { type Asker, asking, PATIENT, statusWords } from "./patience.ts";
import type { Content } from "./verified-file.ts";

export interface HubName {
  readonly repository: string;
  readonly revision: string;
  /** One file of the repository: needed where it has several GGUF files. */
  readonly file: string | undefined;
}

const NAME = /^hf:(?<repository>[\w.-]+\/[\w.-]+)(?:@(?<revision>[\w.-]+))?(?::(?<file>[\w.-]+(?:\/[\w.-]+)*))?$/;

/** Parts of an `hf:` name; undefined for other names. Throws `INVALID_ARGUMENT` for one that is malformed. */
export function parseHubName(name: string): HubName | undefined {
  if (!name.startsWith("hf:")) return undefined;
  const groups = NAME.exec(name)?.groups;
  const parts = name.split(/[/:@]/);
  if (groups === undefined || parts.includes("..") || parts.includes("."))
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `"${name.slice(0, 200)}" is not a name of the hub: hf:owner/repository, hf:owner/repository:file.gguf or hf:owner/repository@revision`,
    );
  return { repository: groups["repository"]!, revision: groups["revision"] ?? "main", file: groups["file"] };
}

/** Small files beside the weights of a repository that is a folder. */
const SMALL = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
  "model.safetensors.index.json",
  "modules.json",
  "sentence_bert_config.json",
  "1_Pooling/config.json",
];
const SHARD = /^model(-\d+-of-\d+)?\.safetensors$/;

/** Which of a repository's files make the model. Throws `INVALID_ARGUMENT` where that can't be told, with what there is. */
export function filesOfModel(paths: readonly string[], { repository, file }: HubName): string[] {
  if (file !== undefined) {
    if (!paths.includes(file)) throw new SkeinError("NOT_FOUND", `${repository} has no file ${file}`);
    if (file.endsWith(".onnx")) return onnxFiles(paths, file);
    if (!file.endsWith(".gguf"))
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `${file} is neither a GGUF nor an ONNX file: name the repository alone to get all of it`,
      );
    return [file];
  }
  const shards = paths.filter((path) => SHARD.test(path));
  if (shards.length > 0 && paths.includes("config.json"))
    return [...paths.filter((path) => SMALL.includes(path)), ...shards];
  const onnx = ONNX_PLACES.find((path) => paths.includes(path));
  if (onnx !== undefined) return onnxFiles(paths, onnx);
  const ggufs = paths.filter((path) => path.endsWith(".gguf"));
  if (ggufs.length === 1) return ggufs;
  if (ggufs.length > 1) {
    const some = ggufs.slice(0, 20).join(", ");
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `${repository} has ${ggufs.length} GGUF files; name one, such as hf:${repository}:${ggufs[0]}. There are: ${some}`,
    );
  }
  throw new SkeinError("NOT_FOUND", `${repository} has neither GGUF nor safetensors files, and no onnx/model.onnx`);
}

/** With what describes it, and the files that its tensors lie in. */
const onnxFiles = (paths: readonly string[], file: string): string[] => [
  ...paths.filter((path) => SMALL.includes(path)),
  file,
  ...paths.filter((path) => path.startsWith(`${file}_data`) || path.startsWith(`${file}.data`)),
];

/** The file that a model of these is found by, where its name says `file` or nothing; undefined: by its folder. */
export const entryFile = (files: readonly string[], file: string | undefined): string | undefined =>
  file ?? (files.length === 1 ? files[0] : undefined);

/** What needn't be fetched to know what a model is. */
export const isWeights = (file: string): boolean => /\.(safetensors|gguf|onnx|onnx[._]data.*)$/.test(file);

export interface HubAccess extends Asker {
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * What to fetch for a name, at the commit that its revision is now. Errors: `NOT_FOUND`, `PERMISSION_DENIED` for what needs a token,
 * `UNAVAILABLE` where the hub can't be reached.
 */
export async function listHubModel(name: string, parsed: HubName, access: HubAccess): Promise<CatalogueRepository> {
  const { repository, revision } = parsed;
  const about = await ask(`api/models/${repository}/revision/${revision}`, repository, access);
  const commit = isRecord(about) && typeof about["sha"] === "string" ? about["sha"] : undefined;
  if (commit === undefined || !/^[0-9a-f]{40}$/.test(commit)) throw strange(access.endpoint, repository);
  const tree = await ask(`api/models/${repository}/tree/${commit}?recursive=true`, repository, access);
  if (!Array.isArray(tree)) throw strange(access.endpoint, repository);
  const contents = new Map(tree.map(contentOf).filter((content) => content !== undefined));
  const files = filesOfModel([...contents.keys()].toSorted(), parsed).map((file) => ({ file, ...contents.get(file)! }));
  return { name, files, hub: { repository, revision: commit } };
}

/** A file of the listing with the hash it is known by. */
function contentOf(entry: unknown): [string, Content] | undefined {
  if (!isRecord(entry) || entry["type"] !== "file") return undefined;
  const { path, size: bytes, oid, lfs } = entry;
  if (typeof path !== "string" || !Number.isSafeInteger(bytes) || path.split("/").includes("..")) return undefined;
  const size = bytes as number;
  if (isRecord(lfs)) return isHex(lfs["oid"], 64) ? [path, { bytes: size, sha256: lfs["oid"] }] : undefined;
  return isHex(oid, 40) ? [path, { bytes: size, gitBlob: oid }] : undefined;
}

const isHex = (value: unknown, length: number): value is string =>
  typeof value === "string" && value.length === length && /^[0-9a-f]+$/.test(value);
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null;

async function ask(path: string, repository: string, access: HubAccess): Promise<unknown> {
  const { endpoint, token, signal } = access;
  const url = `${endpoint.replace(/\/+$/, "")}/${path}`;
  let response: Response;
  try {
    response = await asking(PATIENT, access)(url, {
      headers: authorization(token),
      signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MAX_MS + HUB_LISTING_TIMEOUT_MS)]),
    });
  } catch (cause) {
    if (signal.aborted) throw cancelled(cause);
    throw new SkeinError("UNAVAILABLE", `${endpoint} can't be reached to ask about ${repository}`, { cause });
  }
  if (response.ok) return parseBounded(response, endpoint, repository);
  await response.body?.cancel();
  if (response.status === 401 || response.status === 403)
    throw new SkeinError(
      "PERMISSION_DENIED",
      `${repository} is not open to ${token ? "this token" : "everybody"}, or doesn't exist: accept its licence on the hub and set HF_TOKEN`,
    );
  if (response.status === 404) throw new SkeinError("NOT_FOUND", `${endpoint} has no ${repository} of that revision`);
  throw new SkeinError("UNAVAILABLE", `${endpoint} ${statusWords(response)} for ${repository}`);
}

async function parseBounded(response: Response, endpoint: string, repository: string): Promise<unknown> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > HUB_LISTING_MAX) throw strange(endpoint, repository);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    throw strange(endpoint, repository);
  }
}

const strange = (endpoint: string, repository: string): SkeinError =>
  new SkeinError("UNAVAILABLE", `${endpoint} answered in a form that isn't a hub's for ${repository}`);
