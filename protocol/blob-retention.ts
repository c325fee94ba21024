/** Which blobs of a folder may go: one decision for the coordinator's store and the workers' caches. Pure. */

export interface StoredBlob {
  readonly name: string;
  readonly bytes: number;
  /** When it was last put, asked for or read, ms since 1970. */
  readonly usedAtMs: number;
}

export interface Retention {
  /** What was used within this, ms, stays: somebody may be about to name it (a deploy that still uploads) or to go back to it. */
  readonly graceMs: number;
  /** What isn't needed any more stays as long as all together has at most this many bytes. */
  readonly bytesMax: number;
}

/** Those to delete, the one that wasn't used for longest first. `inUse` names what must stay. */
export function superfluous(
  blobs: readonly StoredBlob[],
  inUse: ReadonlySet<string>,
  nowMs: number,
  { graceMs, bytesMax }: Retention,
): StoredBlob[] {
  let total = blobs.reduce((sum, blob) => sum + blob.bytes, 0);
  const goes: StoredBlob[] = [];
  for (const blob of blobs.toSorted((a, b) => a.usedAtMs - b.usedAtMs)) {
    if (total <= bytesMax || nowMs - blob.usedAtMs < graceMs) break;
    if (inUse.has(blob.name)) continue;
    goes.push(blob);
    total -= blob.bytes;
  }
  return goes;
}
