/** The models that tabs read: each is looked for once, however many ask, and again when its files have changed. How it is looked for is an argument. */
import { stat } from "node:fs/promises";
import { SkeinError } from "../../protocol/errors.ts";
import { MODEL_NAME_MAX, MODEL_SEARCHES_MAX, MODELS_FOUND_MAX } from "../../protocol/limits.ts";
import type { FoundModel, ModelRefusal } from "../../protocol/local.ts";

type FoundFile = FoundModel["files"][number];

export class MeshModels {
  readonly #find: (name: string) => Promise<FoundModel | ModelRefusal>;
  readonly #found = new Map<string, Promise<FoundModel>>();
  #searches = 0;

  constructor(find: (name: string) => Promise<FoundModel | ModelRefusal>) {
    this.#find = find;
  }

  /** As it is on the disk now. Throws the refusal, `BUSY` where too many are looked for, and what `find` throws. */
  async listing(name: string): Promise<FoundModel> {
    const known = this.#found.get(name);
    if (known !== undefined) {
      const found = await known;
      const fresh = await Promise.all(found.files.map(isUnchanged));
      if (fresh.every(Boolean)) return found;
      if (this.#found.get(name) === known) this.#found.delete(name);
    }
    return this.#once(name);
  }

  /** A file of a listing; null where none has it. Throws as `listing` does, and `UNAVAILABLE` for one that has changed since. */
  async file(name: string, file: string): Promise<FoundFile | null> {
    const found = (await this.#once(name)).files.find((one) => one.file === file);
    if (found === undefined) return null;
    if (await isUnchanged(found)) return found;
    this.#found.delete(name);
    throw new SkeinError("UNAVAILABLE", `${file} of ${name.slice(0, 100)} has changed: ask for the model again`);
  }

  #once(name: string): Promise<FoundModel> {
    let found = this.#found.get(name);
    if (found === undefined) {
      found = this.#search(name);
      this.#found.set(name, found);
      found.catch(() => this.#found.delete(name));
      const [oldest] = this.#found.keys();
      if (this.#found.size > MODELS_FOUND_MAX) this.#found.delete(oldest!);
    }
    return found;
  }

  async #search(name: string): Promise<FoundModel> {
    if (name.length > MODEL_NAME_MAX)
      throw new SkeinError("INVALID_ARGUMENT", `a model's name has at most ${MODEL_NAME_MAX} characters`);
    if (this.#searches >= MODEL_SEARCHES_MAX)
      throw new SkeinError("BUSY", `${this.#searches} models are being looked for already; try again`);
    this.#searches += 1;
    try {
      const found = await this.#find(name);
      if ("code" in found) throw new SkeinError(found.code, found.message);
      return found;
    } finally {
      this.#searches -= 1;
    }
  }
}

const isUnchanged = ({ path, bytes, modifiedMs }: FoundFile): Promise<boolean> =>
  stat(path).then(
    ({ size, mtimeMs }) => size === bytes && mtimeMs === modifiedMs,
    () => false,
  );
