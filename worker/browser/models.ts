/** Models in a tab: the coordinator has the checkpoint, the replica reads it from there and converts it in memory. */
import { sourceOfBlob } from "../../engine/gguf/source.ts";
import type { PreparedReference, ProviderName } from "../../engine/index.ts";
import { prepareInMemory } from "../../engine/prepare.ts";
import { SkeinError } from "../../protocol/errors.ts";
import type { LocatedModel } from "../../protocol/local.ts";
import { MODEL_TIMEOUT_MS } from "./limits.ts";

/** Asks the coordinator to have the checkpoint ready. Rejects with NOT_FOUND, or UNAVAILABLE in its words. */
export async function locateAtMesh(origin: string, name: string, ticket: string): Promise<LocatedModel> {
  const url = `${origin}/models/${encodeURIComponent(name)}`;
  const authorization = `Bearer ${ticket}`;
  // One byte, not HEAD: an answer to HEAD has no words for what went wrong.
  const answer = await fetch(url, {
    headers: { authorization, range: "bytes=0-0" },
    signal: AbortSignal.timeout(MODEL_TIMEOUT_MS),
  });
  if (answer.status === 404)
    throw new SkeinError("NOT_FOUND", `The mesh has no model "${name.slice(0, 100)}" for browsers.`);
  if (!answer.ok)
    throw new SkeinError(
      "UNAVAILABLE",
      `The model ${name.slice(0, 100)} can't be had: ${(await answer.text()).slice(0, 500) || `the mesh answered ${answer.status}`}`,
    );
  const bytes = Number(/\/(\d+)$/.exec(answer.headers.get("content-range") ?? "")?.[1] ?? 0);
  await answer.arrayBuffer();
  return { kind: "url", url, bytes, authorization };
}

/** Reads and converts. The checkpoint is a Blob, which the browser may keep on its disk: only one tensor of it is in memory at a time. */
export async function openFromUrl(
  model: LocatedModel,
  provider: ProviderName,
  onProgress: (doing: string) => void,
): Promise<PreparedReference> {
  if (model.kind !== "url") throw new Error("a replica in a tab reads models from the mesh");
  onProgress(`fetching ${Math.round(model.bytes / 1e6)} MB`);
  const answer = await fetch(model.url, { headers: { authorization: model.authorization } });
  if (!answer.ok) throw new Error(`the mesh answered ${answer.status} when asked for the checkpoint`);
  let said = -1;
  const prepared = await prepareInMemory(sourceOfBlob(await answer.blob()), { target: provider }, ({ done, total }) => {
    const percent = Math.floor((100 * done) / total);
    if (percent !== said) onProgress(`converting: ${percent} %`);
    said = percent;
  });
  return { model: prepared };
}
