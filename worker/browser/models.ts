/** Models in a tab: the coordinator has the files, the replica reads them from there and makes of them what a provider loads. */
import type { PreparedReference, ProviderName } from "../../engine/index.ts";
import { makeInMemory, type ModelPlan, planModel, weightBytesOf } from "../../engine/prepare-any.ts";
import { SkeinError } from "../../protocol/errors.ts";
import type { LocatedModel } from "../../protocol/local.ts";
import { type ModelListing, modelListingSchema } from "../../protocol/model-listing.ts";
import { MODEL_PIECE_MAX, MODEL_TIMEOUT_MS } from "./limits.ts";
import { ModelFiles } from "./model-files.ts";

/** Asks the coordinator to have the model ready. Rejects in its words, with `UNAVAILABLE`, or with `INCOMPATIBLE` where its answer isn't understood. */
export async function locateAtMesh(origin: string, name: string, ticket: string): Promise<LocatedModel> {
  const url = `${origin}/models/${encodeURIComponent(name)}`;
  const authorization = `Bearer ${ticket}`;
  const answer = await fetch(url, {
    headers: { authorization },
    cache: "no-store",
    signal: AbortSignal.timeout(MODEL_TIMEOUT_MS),
  });
  const text = await answer.text();
  if (!answer.ok)
    throw new SkeinError(
      "UNAVAILABLE",
      `The model ${name.slice(0, 100)} can't be had: ${text.slice(0, 500) || `the mesh answered ${answer.status}`}`,
    );
  const parsed = modelListingSchema.safeParse(JSON.parse(text));
  if (!parsed.success)
    throw new SkeinError("INCOMPATIBLE", "The mesh lists a model's files in a form that isn't known: reload the page.");
  return { kind: "mesh", url, listing: parsed.data, authorization };
}

/**
 * Reads and converts, for slots of so many tokens. Headers come first: what doesn't fit into a tab is refused before its weights are fetched. Then all files come whole, are checked,
 * and what is made is made of those; only one tensor of them is in memory at a time.
 */
export async function openFromMesh(
  model: LocatedModel,
  provider: ProviderName,
  slotLength: number,
  onProgress: (doing: string) => void,
  fetch: typeof globalThis.fetch = globalThis.fetch.bind(globalThis),
): Promise<PreparedReference> {
  if (model.kind !== "mesh") throw new Error("a replica in a tab reads models from the mesh");
  const { listing } = model;
  const total = listing.files.reduce((sum, { bytes }) => sum + bytes, 0);
  const everyPercent = percents(onProgress);
  let fetched = 0;
  const files = new ModelFiles(model, fetch, (bytes) => {
    fetched += bytes;
    everyPercent(`fetching ${Math.ceil(total / 1e6)} MB`, fetched / total);
  });
  onProgress("reading its headers");
  assertFilesFit(listing, provider);
  const options = { target: provider, slotLength };
  assertWeightsFit(await planModel(files, listing.entry, options), provider);
  await files.fetchAll();
  const plan = await planModel(files, listing.entry, options);
  return {
    model: await makeInMemory(
      plan,
      (name) => files.whole(name),
      ({ done, total }) => everyPercent("converting", done / total),
    ),
  };
}

/** An ONNX file is read in one piece, and on WASM so are all of its tensors. */
function assertFilesFit({ entry, files }: ModelListing, provider: ProviderName): void {
  if (entry?.endsWith(".onnx") !== true) return;
  const pieces = provider === "wasm" ? files : files.filter(({ file }) => file === entry);
  const bytes = pieces.reduce((sum, file) => sum + file.bytes, 0);
  if (bytes > MODEL_PIECE_MAX) throw tooLarge(bytes, provider);
}

function assertWeightsFit(plan: ModelPlan, provider: ProviderName): void {
  const bytes = weightBytesOf(plan);
  if (bytes > MODEL_PIECE_MAX) throw tooLarge(bytes, provider);
}

const tooLarge = (bytes: number, provider: ProviderName): SkeinError =>
  new SkeinError(
    "UNIMPLEMENTED",
    `its weights take ${Math.ceil(bytes / 1e6)} MB on ${provider}, and a tab gives ${Math.floor(MODEL_PIECE_MAX / 1e6)} MB in one piece: use a smaller model, or a worker in Node`,
  );

/** Tells what is done when its whole percents change. */
function percents(onProgress: (doing: string) => void): (doing: string, part: number) => void {
  let last = "";
  return (doing, part) => {
    const said = `${doing}: ${Math.floor(100 * part)} %`;
    if (said !== last) onProgress(said);
    last = said;
  };
}
