/** Turns what the file system throws into an error that says what to do. */
import { statfs } from "node:fs/promises";
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

/** Throws where the disk of `folder` hasn't room for `bytes` more. */
export async function requireSpace(bytes: number, folder: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < bytes) throw diskFull(folder);
}
