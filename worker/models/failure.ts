/** Turns what the file system throws into an error that says what to do. */
import { stat, statfs } from "node:fs/promises";
import { SkeinError } from "../../protocol/errors.ts";

/** `directory` is where we were writing. Errors that more trying or another source can't cure; undefined for all others. */
export function finalFailure(thrown: unknown, directory: string): SkeinError | undefined {
  if (thrown instanceof SkeinError && thrown.code !== "UNAVAILABLE") return thrown;
  switch (systemCode(thrown)) {
    case "ENOSPC":
    case "EDQUOT":
      return diskFull(directory, thrown);
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new SkeinError(
        "PERMISSION_DENIED",
        `not allowed to write into ${directory}: make it yours, or set SKEIN_DATA_DIR`,
        {
          cause: thrown,
        },
      );
    default:
      return undefined;
  }
}

export function diskFull(directory: string, cause?: unknown): SkeinError {
  return new SkeinError("INTERNAL", `the disk of ${directory} is full: free some space, or set SKEIN_DATA_DIR`, {
    cause,
  });
}

export function cancelled(cause?: unknown): SkeinError {
  return new SkeinError("CANCELLED", "fetching the model was interrupted; the next start goes on from here", { cause });
}

/** `code` of a system error, looking through wrappers such as fetch's. */
export function systemCode(thrown: unknown): string | undefined {
  for (let error = thrown; error instanceof Error; error = error.cause) {
    if ("code" in error && typeof error.code === "string") return error.code;
  }
  return undefined;
}

/** Why a source failed, if another may do better; else throws what ends the fetch. */
export function nextSourceReason(thrown: unknown, dataDir: string): string {
  if (thrown instanceof SkeinError && ["UNAVAILABLE", "INVALID_ARGUMENT"].includes(thrown.code)) return thrown.message;
  throw finalFailure(thrown, dataDir) ?? thrown;
}

/** Throws where the disk of `folder` hasn't room for `bytes` more. What has come of a file lies there already and doesn't count. */
export async function requireSpace(bytes: number, folder: string, freeSpace: FreeSpace = freeOnDisk): Promise<void> {
  if ((await freeSpace(folder)) < bytes) throw diskFull(folder);
}

/** Bytes that this user may still write below a folder. */
export type FreeSpace = (folder: string) => Promise<number>;

const freeOnDisk: FreeSpace = async (folder) => {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
};

/** Bytes of a file; 0 where there is none. */
export async function sizeOnDisk(path: string): Promise<number> {
  return stat(path).then(
    (stats) => stats.size,
    () => 0,
  );
}

/** Throws where the network must not be asked for what isn't here: neither a hub, nor another host, nor pip. */
export function requireOnline(name: string, { offline = false }: { readonly offline?: boolean }): void {
  if (offline)
    throw new SkeinError("UNAVAILABLE", `${name} is not on this disk, and HF_HUB_OFFLINE forbids to fetch it`);
}
