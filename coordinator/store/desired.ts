/** The desired state and the term in a StateStore: loading with migrations of its own schema, saving by revision. */
import { SkeinError } from "../../protocol/errors.ts";
import { DESIRED_SCHEMA, emptyDesired, type DesiredState } from "../state.ts";
import type { StateStore } from "./store.ts";

const DESIRED = "desired";
const TERM = "term";

/** From an older schema number to the next, as JSON values. None yet: this is the first. */
const MIGRATIONS: Readonly<Record<number, (old: Record<string, unknown>) => Record<string, unknown>>> = {};

export class DesiredStore {
  readonly #store: StateStore;
  #revision: number;

  private constructor(store: StateStore, revision: number) {
    this.#store = store;
    this.#revision = revision;
  }

  /** Reads what is stored and takes the next term: from now on an older coordinator's writes conflict. */
  static async open(store: StateStore): Promise<{ desired: DesiredState; term: number; stored: DesiredStore }> {
    const before = await store.get(TERM);
    const term = Number(before?.value ?? "0") + 1;
    await store.put(TERM, String(term), before?.revision ?? 0);
    const entry = await store.get(DESIRED);
    return {
      desired: entry === null ? emptyDesired : migrated(entry.value),
      term,
      stored: new DesiredStore(store, entry?.revision ?? 0),
    };
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
