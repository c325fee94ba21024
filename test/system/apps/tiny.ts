import { deployment } from "skein";
import { LanguageModel } from "skein/llm";

/** A model from a file, on whatever provider its worker has. */
class Tiny {
  model!: LanguageModel;
  readonly #path: string;
  constructor(path: string) {
    this.#path = path;
  }
  async init() {
    this.model = await LanguageModel.load(this.#path);
  }
  async fetch(request: Request) {
    if (request.method === "GET") return this.model.provider;
    return this.model.complete(await request.json(), { maxTokens: 24 });
  }
}

/** `on`: custom resource that the chosen worker offers; a worker with a GPU gives it. */
export const app = (args: { model?: string; on?: string; gpus?: number }) =>
  deployment(Tiny, {
    rayActorOptions: { numCpus: 1, numGpus: args.gpus ?? 0, resources: { [args.on ?? "cpu"]: 1 } },
  }).bind(args.model ?? "");
