/** Model fetching with this process's network, programs, clock and environment put in. */
import { homedir } from "node:os";
import { fetchModel } from "../models/fetch-model.ts";
import { readModelHosts } from "../models/model-url.ts";
import type { OnProgress } from "../models/progress.ts";
import { dataDirectory } from "./data-directory.ts";
import { hubEnvironment } from "./hub-environment.ts";
import { runProgram } from "./run-program.ts";

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
    ...(await hubEnvironment(process.env, homedir())),
    modelHosts: readModelHosts(process.env["SKEIN_MODEL_HOSTS"]),
    ...options,
  });
  return path;
}
