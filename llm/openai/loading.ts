/** Whether a model behind a handle is there yet, and how long it may still take. Timers are arguments. */
import { OPENAI_RETRY_AFTER_MAX_S } from "../../protocol/limits.ts";
import type { Loading } from "../../serve/runtime.ts";
import type { Surroundings } from "./choices.ts";
import { ApiError } from "./errors.ts";
import type { ModelCard } from "./model-server.ts";

/** A model that has just become ready is found so within a moment, ms: a request waits that long before it is told to come again. */
const GRACE_MS = 500;
/** ms until a model that could not be asked is asked again. */
const AGAIN_MS = 1_000;

export class LoadedModel {
  readonly #id: string;
  readonly #loading: () => Loading | undefined;
  readonly #surroundings: Surroundings;
  readonly #since: number;
  #card: ModelCard | undefined;
  #failure: string | undefined;
  readonly #loaded = Promise.withResolvers<void>();

  /**
   * @param describe answered by the model once it is loaded; rejects where it can't be reached
   * @param loading what it does meanwhile, where that is known
   */
  constructor(
    id: string,
    describe: () => PromiseLike<ModelCard>,
    surroundings: Surroundings,
    loading: () => Loading | undefined = () => undefined,
  ) {
    this.#id = id;
    this.#loading = loading;
    this.#surroundings = surroundings;
    this.#since = surroundings.now();
    this.#watch(describe);
  }

  /** What it said of itself; undefined while it loads. */
  get card(): ModelCard | undefined {
    return this.#card;
  }

  /** Resolves when requests make sense. Rejects with a 503 that says when to ask again. */
  async ready(): Promise<void> {
    if (this.#card !== undefined) return;
    const grace = Promise.withResolvers<void>();
    const stop = this.#surroundings.after(GRACE_MS, grace.resolve);
    await Promise.race([this.#loaded.promise, grace.promise]);
    stop();
    if (this.#card !== undefined) return;
    const elapsed = (this.#surroundings.now() - this.#since) / 1_000;
    const loading = this.#loading();
    // Without knowledge of its size and the network, what has taken long takes about as long again.
    const left = Math.max(1, Math.ceil(loading?.leftS ?? Math.min(elapsed, OPENAI_RETRY_AFTER_MAX_S)));
    const doing = loading === undefined ? "" : ` (${loading.doing})`;
    throw new ApiError(
      503,
      this.#failure === undefined
        ? `The model '${this.#id}' is loading since ${Math.round(elapsed)} s${doing}, and may need ${left} s more.`
        : `The model '${this.#id}' is not available: ${this.#failure}`,
      {
        code: this.#failure === undefined ? "model_loading" : "model_unavailable",
        param: "model",
        retryAfter: Math.min(OPENAI_RETRY_AFTER_MAX_S, left),
      },
    );
  }

  #watch(describe: () => PromiseLike<ModelCard>): void {
    describe().then(
      (card) => {
        this.#card = card;
        this.#loaded.resolve();
      },
      (error: unknown) => {
        this.#failure = error instanceof Error ? error.message : String(error);
        this.#surroundings.after(AGAIN_MS, () => this.#watch(describe));
      },
    );
  }
}
