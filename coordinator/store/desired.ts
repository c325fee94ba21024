/** The desired state and the term in a StateStore: loading with migrations of its own schema, saving by revision. */
import { SkeinError } from "../../protocol/errors.ts";
import type { CoordinatorOptions } from "../../protocol/local.ts";
import { DESIRED_SCHEMA, emptyDesired, type DesiredState } from "../state.ts";
import { RevisionConflict, type StateStore } from "./store.ts";

/** A run begins empty and leaves what a mesh that stays has kept alone. */
const KEYS = { mesh: "desired", run: "desired-of-run" } as const;
const TERM = "term";
/** An older coordinator that still writes may come in between this often. */
const TAKE_OVER_ATTEMPTS = 10;

/** From an older schema number to the next, as JSON values. */
const MIGRATIONS: Readonly<Record<number, (old: Record<string, unknown>) => Record<string, unknown>>> = {
  1: (old) => ({ ...old, schema: 2, apiKeys: {} }),
};

export class DesiredStore {
  readonly #store: StateStore;
  readonly #key: string;
  #revision: number;

  private constructor(store: StateStore, key: string, revision: number) {
    this.#store = store;
    this.#key = key;
    this.#revision = revision;
  }

  /**
   * Reads what is stored (a run that isn't started again begins empty) and takes the next term. It is put at once: from now on an
   * older coordinator's writes conflict, not this one's. Rejects with `RevisionConflict` while the older one goes on writing in between.
   */
  static async open(
    store: StateStore,
    { state, again }: Pick<CoordinatorOptions, "state" | "again">,
  ): Promise<{ desired: DesiredState; others: readonly DesiredState[]; term: number; stored: DesiredStore }> {
    const key = KEYS[state];
    const before = await store.get(TERM);
    const term = Number(before?.value ?? "0") + 1;
    await store.put(TERM, String(term), before?.revision ?? 0);
    const others = await stored(
      store,
      Object.values(KEYS).filter((other) => other !== key),
    );
    for (let attempt = 1; ; attempt += 1) {
      const entry = await store.get(key);
      const was = entry === null ? emptyDesired : migrated(entry.value);
      // What callers must show outlives a run: nothing opens by a restart.
      const kept = state === "run" && !again ? { ...emptyDesired, apiKeys: was.apiKeys } : was;
      // Of both states: no number of a deploy is used twice, whoever may still hold something of it.
      const desired = { ...kept, generation: Math.max(was.generation, ...others.map(({ generation }) => generation)) };
      try {
        const revision = await store.put(key, JSON.stringify(desired), entry?.revision ?? 0);
        return { desired, others, term, stored: new DesiredStore(store, key, revision) };
      } catch (error) {
        if (!(error instanceof RevisionConflict) || attempt === TAKE_OVER_ATTEMPTS) throw error;
      }
    }
  }

  async save(desired: DesiredState): Promise<void> {
    this.#revision = await this.#store.put(this.#key, JSON.stringify(desired), this.#revision);
  }
}

async function stored(store: StateStore, keys: readonly string[]): Promise<DesiredState[]> {
  const entries = await Promise.all(keys.map((key) => store.get(key)));
  return entries.flatMap((entry) => (entry === null ? [] : [migrated(entry.value)]));
}

function migrated(text: string): DesiredState {
  let value = JSON.parse(text) as Record<string, unknown>;
  for (let schema = Number(value["schema"]); schema !== DESIRED_SCHEMA; schema = Number(value["schema"])) {
    const step = MIGRATIONS[schema];
    if (step === undefined)
      throw new SkeinError(
        "INVALID_ARGUMENT",
        `The stored state has schema ${schema}; this Skein knows ${DESIRED_SCHEMA}. Upgrade Skein, or choose another data directory.`,
      );
    value = step(value);
  }
  return value as unknown as DesiredState;
}
