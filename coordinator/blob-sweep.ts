/**
 * The end of blobs that nothing refers to: neither the desired state nor a replica that still runs an older version.
 * What was put, asked for or fetched lately stays too: a deploy that uploads, and the version that one goes back to.
 */
import type { Sha256 } from "../protocol/ids.ts";
import { BLOB_GRACE_MS } from "../protocol/limits.ts";
import { isSha256, type FolderBlobs } from "./blobs.ts";
import type { DesiredState, State } from "./state.ts";

/** Artefacts (hashes of manifests) that an application has or that replicas of it still run. Pure. */
export function artefactsInUse(states: readonly DesiredState[]): Set<string> {
  const inUse = new Set<string>();
  for (const { target } of states.flatMap((state) => Object.values(state.apps))) {
    if (target === null) continue;
    inUse.add(target.artefact);
    for (const deployment of Object.values(target.deployments))
      for (const code of Object.values(deployment.codes)) inUse.add(code.artefact);
  }
  return inUse;
}

/**
 * Deletes what may go; returns how many bytes that were. Not while recovering: what replicas run isn't known yet.
 * `others`: states that are kept in the same folder and not in force, a mesh's beside a run's.
 */
export async function sweepBlobs(
  blobs: FolderBlobs,
  state: State,
  others: readonly DesiredState[],
  nowMs: number,
): Promise<number> {
  if (state.recovery !== null) return 0;
  const inUse = artefactsInUse([state.desired, ...others]);
  for (const artefact of [...inUse]) for (const named of await namedIn(blobs, artefact)) inUse.add(named);
  return blobs.prune(inUse, nowMs, { graceMs: BLOB_GRACE_MS, bytesMax: 0 });
}

/** Whatever looks like a hash in the manifest's text: right for manifests of every version, and at worst something stays. */
async function namedIn(blobs: FolderBlobs, artefact: string): Promise<readonly string[]> {
  if (!isSha256(artefact)) return [];
  try {
    return (await blobs.text(artefact as Sha256)).match(/\b[0-9a-f]{64}\b/g) ?? [];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
