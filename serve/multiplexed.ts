/**
 * `multiplexed`: many models in one replica, the least recently used one leaves, as in Ray's `@serve.multiplexed`.
 */
export interface MultiplexedOptions {
  /** Models kept at a time. Default 3. */
  readonly maxNumModelsPerReplica?: number;
}

/**
 * Wraps `load(id)`: the model of an id is loaded once and kept until room is needed, then disposed (`Symbol.asyncDispose`).
 * Rejects with what `load` throws; a failed load isn't kept. Throws a RangeError when the limit is not a positive integer or the id is empty.
 */
export function multiplexed<M>(
  load: (id: string) => Promise<M> | M,
  options: MultiplexedOptions = {},
): (id: string) => Promise<M> {
  const max = options.maxNumModelsPerReplica ?? 3;
  if (!Number.isInteger(max) || max < 1)
    throw new RangeError(`maxNumModelsPerReplica must be a positive integer, got ${max}.`);
  const models = new Map<string, Promise<M>>();
  const evict = async (): Promise<void> => {
    while (models.size > max) {
      const [oldest, model] = models.entries().next().value!;
      models.delete(oldest);
      await dispose(await model.catch(() => undefined));
    }
  };
  return async (id) => {
    if (id === "")
      throw new RangeError(
        "The request names no model: set the header serve_multiplexed_model_id or the handle option multiplexedModelId.",
      );
    const known = models.get(id);
    models.delete(id);
    const model = known ?? Promise.resolve().then(() => load(id));
    models.set(id, model);
    if (known === undefined) {
      model.catch(() => void (models.get(id) === model && models.delete(id)));
      await evict();
    }
    return model;
  };
}

async function dispose(model: unknown): Promise<void> {
  const holder = model as Partial<AsyncDisposable & Disposable> | null | undefined;
  if (typeof holder?.[Symbol.asyncDispose] === "function") await holder[Symbol.asyncDispose]!();
  else if (typeof holder?.[Symbol.dispose] === "function") holder[Symbol.dispose]!();
}
