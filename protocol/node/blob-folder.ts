/** A folder of blobs as files: what is there, and the end of what has become superfluous. The time of a file's last change is that of its last use. */
import { readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { superfluous, type Retention, type StoredBlob } from "../blob-retention.ts";

/** The file was used at `nowMs` (ms since 1970). It may be gone. */
export function touch(path: string, nowMs: number): void {
  try {
    utimesSync(path, nowMs / 1000, nowMs / 1000);
  } catch {
    // Another process has deleted it: whoever needs it fetches it again.
  }
}

/** Every file of the folder, those that a killed process left unfinished among them. */
export function blobsIn(folder: string): StoredBlob[] {
  return readdirSync(folder).flatMap((name) => blobAt(folder, name) ?? []);
}

/** Deletes what is superfluous; returns it. A file that was used since it was looked at stays. */
export function prune(
  folder: string,
  inUse: ReadonlySet<string>,
  nowMs: number,
  retention: Retention,
): readonly StoredBlob[] {
  const goes = superfluous(blobsIn(folder), inUse, nowMs, retention);
  return goes.filter(({ name, usedAtMs }) => {
    if (blobAt(folder, name)?.usedAtMs !== usedAtMs) return false;
    rmSync(join(folder, name), { force: true });
    return true;
  });
}

function blobAt(folder: string, name: string): StoredBlob | null {
  const facts = statSync(join(folder, name), { throwIfNoEntry: false });
  return facts?.isFile() === true ? { name, bytes: facts.size, usedAtMs: facts.mtimeMs } : null;
}
