/** The real models for tests that need the real thing. Fetched once into the user's data directory, as the product does it. */
import { DEFAULT_MODEL } from "../../worker/models/catalogue.ts";
import type { OnProgress } from "../../worker/models/progress.ts";
import { ensureModel } from "../../worker/node/ensure-model.ts";

/** Path of the default model's GGUF file, 98 MB. `npm test` fetches it beforehand, so that no test waits for a network. */
export function defaultModelPath(onProgress?: OnProgress): Promise<string> {
  return ensureModel(DEFAULT_MODEL, onProgress ? { onProgress } : {});
}

/** Folder of the encoder's repository, 91 MB. */
export function encoderModelPath(onProgress?: OnProgress): Promise<string> {
  return ensureModel("all-minilm-l6-v2", onProgress ? { onProgress } : {});
}
