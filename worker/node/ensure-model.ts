/** Model fetching with this process's network, programs, clock and environment put in. */
import { fetchModel } from "../models/fetch-model.ts";
import type { OnProgress } from "../models/progress.ts";
import { dataDirectory } from "./data-directory.ts";
import { runProgram } from "./run-program.ts";

/** `fetchModel` for Node programs; returns the path of the GGUF file. `dataDir` defaults to the user's data directory. */
export async function ensureModel(
  name: string,
  options: { readonly dataDir?: string; readonly onProgress?: OnProgress; readonly signal?: AbortSignal } = {},
): Promise<string> {
  const { path } = await fetchModel(name, {
    dataDir: dataDirectory(process.env),
    fetch: globalThis.fetch,
    run: runProgram,
    now: () => performance.now(),
    hubEndpoint: process.env["HF_ENDPOINT"] || undefined,
    ...options,
  });
  return path;
}
