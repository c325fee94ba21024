/**
 * Whole files by their hash: `<dataDir>/models/sha256/<hash>.<extension>`, and what comes to be one below `models/partial`. Knows the
 * layout, and that one process fetches while others wait; where files come from is an argument.
 */
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { finalFailure } from "./failure.ts";
import type { FetchOptions } from "./fetch-repository.ts";
import { withLock } from "./lock.ts";
import { hashFile } from "./verified-file.ts";

export interface Wanted {
  readonly sha256: string;
  /** undefined where only its source knows. */
  readonly bytes?: number;
  readonly extension: "gguf" | "onnx";
}

export interface FilePlaces {
  /** Where it lies when it is whole. */
  readonly file: string;
  /** Folder of what isn't whole, ours and others'. */
  readonly growing: string;
  /** What has come of it: the same next time. */
  readonly partial: string;
}

/** Where whole files lie. */
export const wholeFiles = (dataDir: string): string => join(dataDir, "models", "sha256");

/** Path of the file where it is whole, and hasn't changed since that was seen. */
export async function storedFile({ sha256, bytes, extension }: Wanted, dataDir: string): Promise<string | undefined> {
  const file = join(wholeFiles(dataDir), `${sha256}.${extension}`);
  return (await isVerified(file, bytes)) ? file : undefined;
}

/**
 * Path of the file, put there by `get` unless it is there already. Safe when several processes ask at once: one gets it, the others
 * wait. Errors beyond those of `get`: `PERMISSION_DENIED`, `CANCELLED`, `INTERNAL` full disk.
 */
export async function storeFile(
  wanted: Wanted,
  options: FetchOptions,
  get: (places: FilePlaces) => Promise<void>,
): Promise<string> {
  const { dataDir, signal = new AbortController().signal, onProgress = () => undefined } = options;
  const { sha256, bytes, extension } = wanted;
  const whole = wholeFiles(dataDir);
  const file = join(whole, `${sha256}.${extension}`);
  const growing = join(dataDir, "models", "partial");
  const partial = join(growing, `${sha256}.part`);
  const verified = verifiedOf(file);
  const report = (stage: "waiting" | "checking", total = bytes ?? 0): void =>
    onProgress({ stage, bytes: 0, total, bytesPerSecond: 0 });
  try {
    if (await isVerified(file, bytes)) return file;
    await mkdir(whole, { recursive: true });
    await mkdir(growing, { recursive: true });
    return await withLock(join(growing, `${sha256}.lock`), { signal, onWait: () => report("waiting") }, async () => {
      const size = await sizeOf(file);
      if (size !== undefined) {
        report("checking", size);
        if ((await hashFile(file)) === sha256) {
          await writeFile(verified, await stampOf(file));
          return file;
        }
        await rm(file);
      }
      await get({ file, growing, partial });
      await rm(partial, { force: true });
      await writeFile(verified, await stampOf(file));
      return file;
    });
  } catch (thrown) {
    throw finalFailure(thrown, dataDir) ?? thrown;
  }
}

/** A file that changed since it was verified must be hashed again: 0.3 s for 100 MB, so not at every start. */
async function isVerified(file: string, bytes: number | undefined): Promise<boolean> {
  const stamp = await readFile(verifiedOf(file), "utf8").catch(() => undefined);
  const size = await sizeOf(file);
  return stamp !== undefined && size !== undefined && (bytes ?? size) === size && stamp === (await stampOf(file));
}

const verifiedOf = (file: string): string => file.replace(/\.\w+$/, ".verified");

/** Size and modification time. */
async function stampOf(path: string): Promise<string> {
  const { size, mtimeMs } = await stat(path);
  return `${size} ${mtimeMs}`;
}

/** undefined where there is no such file. */
async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    (stats) => (stats.isFile() ? stats.size : undefined),
    () => undefined,
  );
}
