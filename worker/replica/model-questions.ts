/** What a replica asks of its agent: where a model is. Knows the two messages and which answer belongs to which question, not how they travel. */
import type { ProviderName } from "../../engine/index.ts";
import type { FromReplica, LocatedModel, ToReplica } from "../../protocol/local.ts";

interface Waiting {
  resolve(model: LocatedModel): void;
  reject(error: Error): void;
}

export class ModelQuestions {
  readonly #tell: (message: FromReplica) => void;
  readonly #waiting = new Map<number, Waiting>();
  #asked = 0;

  constructor(tell: (message: FromReplica) => void) {
    this.#tell = tell;
  }

  /** Resolves when the model is on this machine in the provider's form; rejects with the agent's reason. */
  locate(name: string, provider: ProviderName, slotLength?: number): Promise<LocatedModel> {
    return new Promise((resolve, reject) => {
      const id = ++this.#asked;
      this.#waiting.set(id, { resolve, reject });
      this.#tell({ type: "needModel", id, name, provider, ...(slotLength === undefined ? {} : { slotLength }) });
    });
  }

  answered({ id, model, error }: Extract<ToReplica, { type: "model" }>): void {
    const question = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (model !== null) question?.resolve(model);
    else question?.reject(new Error(error ?? "the model could not be found"));
  }
}
