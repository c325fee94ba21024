/** The desired state and the term in a StateStore: loading with migrations of its own schema, saving by revision. */
import { SkeinError } from "../../protocol/errors.ts";
import { DESIRED_SCHEMA, emptyDesired, type DesiredState } from "../state.ts";
import { RevisionConflict, type StateStore } from "./store.ts";

const DESIRED = "desired";
const TERM = "term";
/** An older coordinator that still writes may come in between this often. */
const TAKE_OVER_ATTEMPTS = 10;

/** From an older schema number to the next, as JSON values. None yet: this is the first. */
const MIGRATIONS: Readonly<Record<number, (old: Record<string, unknown>) => Record<string, unknown>>> = {};

export class DesiredStore {
  readonly #store: StateStore;
  #revision: number;

  private constructor(store: StateStore, revision: number) {
    this.#store = store;
    this.#revision = revision;
  }

  /**
   * Reads what is stored and takes the next term. What is stored is put again as it is: from now on an older coordinator's
   * writes conflict, not this one's. Rejects with `RevisionConflict` while the older one goes on writing in between.
   */
  static async open(store: StateStore): Promise<{ desired: DesiredState; term: number; stored: DesiredStore }> {
    const before = await store.get(TERM);
    const term = Number(before?.value ?? "0") + 1;
    await store.put(TERM, String(term), before?.revision ?? 0);
    for (let attempt = 1; ; attempt += 1) {
      const entry = await store.get(DESIRED);
      try {
        const revision = await store.put(DESIRED, entry?.value ?? JSON.stringify(emptyDesired), entry?.revision ?? 0);
        const desired = entry === null ? emptyDesired : migrated(entry.value);
        return { desired, term, stored: new DesiredStore(store, revision) };
      } catch (error) {
        if (!(error instanceof RevisionConflict) || attempt === TAKE_OVER_ATTEMPTS) throw error;
      }
    }
  }

  async save(desired: DesiredState): Promise<void> {
    this.#revision = await this.#store.put(DESIRED, JSON.stringify(desired), this.#revision);
  }
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
