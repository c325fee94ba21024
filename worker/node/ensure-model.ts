/** Model fetching with this process's network, programs, clock and environment put in. */
import { homedir } from "node:os";
import { join } from "node:path";
import { fetchModel } from "../models/fetch-model.ts";
import type { FetchOptions } from "../models/fetch-repository.ts";
import { readModelHosts } from "../models/model-url.ts";
import type { OnProgress } from "../models/progress.ts";
import { dataDirectory } from "./data-directory.ts";
import { runProgram } from "./run-program.ts";

/** What Hugging Face's own tools take from the environment. */
function hubOptions(env: NodeJS.ProcessEnv): Pick<FetchOptions, "hubEndpoint" | "hubToken" | "hubCache" | "offline"> {
  const home = env["HF_HOME"] || join(env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "huggingface");
  const offline = env["HF_HUB_OFFLINE"]?.toLowerCase();
  return {
    hubEndpoint: env["HF_ENDPOINT"] || undefined,
    hubToken: env["HF_TOKEN"] || undefined,
    hubCache: env["HF_HUB_CACHE"] || join(home, "hub"),
    offline: offline !== undefined && ["1", "on", "yes", "true"].includes(offline),
  };
}

/** `fetchModel` for Node programs; returns the path of the GGUF file or the folder. `dataDir` defaults to the user's data directory. */
export async function ensureModel(
  name: string,
  options: { readonly dataDir?: string; readonly onProgress?: OnProgress; readonly signal?: AbortSignal } = {},
): Promise<string> {
  const { path } = await fetchModel(name, {
    dataDir: dataDirectory(process.env),
    fetch: globalThis.fetch,
    run: runProgram,
    now: () => performance.now(),
    ...hubOptions(process.env),
    modelHosts: readModelHosts(process.env["SKEIN_MODEL_HOSTS"]),
    ...options,
  });
  return path;
}
