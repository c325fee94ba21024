/** A model of the hub by its `hf:` name: what is on this disk, what Hugging Face's tools have, else the hub. Knows the order. */
import { HUB_ENDPOINT } from "./catalogue.ts";
import { requireOnline } from "./failure.ts";
import { type FetchOptions, fetchRepository } from "./fetch-repository.ts";
import { findInHubCache } from "./hub-cache.ts";
import { type HubName, listHubModel } from "./hub-listing.ts";
import { findStored, noteStored } from "./stored-models.ts";

/** Errors beyond those of `fetchRepository`: `NOT_FOUND`, `PERMISSION_DENIED`, `UNIMPLEMENTED` for what the engine can't run. */
export async function fetchFromHub(name: string, parsed: HubName, options: FetchOptions): Promise<{ path: string }> {
  const stored = await findStored(options.dataDir, name);
  if (stored !== undefined) return { path: stored.path };
  const cached = options.hubCache && (await findInHubCache(options.hubCache, parsed));
  if (cached) return { path: cached };
  requireOnline(name, options);
  const { hubEndpoint: endpoint = HUB_ENDPOINT, hubToken: token } = options;
  const signal = options.signal ?? new AbortController().signal;
  const repository = await listHubModel(name, parsed, { ...options, endpoint, token, signal });
  const { path: folder } = await fetchRepository(repository, options);
  return { path: (await noteStored(repository, folder)).path };
}
