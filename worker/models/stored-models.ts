/**
 * The models on this disk: those of the catalogue by their hashes, those of a hub by a note beside their folder
 * (`<dataDir>/models/repositories/<id>.json`). A note is written when its folder is whole.
 */
import { readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { catalogue, type CatalogueRepository } from "./catalogue.ts";
import { entryFile } from "./hub-listing.ts";

export interface StoredModel {
  readonly name: string;
  /** The GGUF or ONNX file, or the folder. */
  readonly path: string;
  readonly bytes: number;
  /** Such as `owner/repository@1234abcd`. */
  readonly source: string;
}

type Note = Omit<StoredModel, "path"> & { readonly file: string | undefined };

const repositories = (dataDir: string): string => join(dataDir, "models", "repositories");
const byHash = (dataDir: string): string => join(dataDir, "models", "sha256");

/** Every model that is whole, by name. */
export async function storedModels(dataDir: string): Promise<StoredModel[]> {
  const found: StoredModel[] = [];
  for (const { name, sha256, hub } of catalogue) {
    const path = join(byHash(dataDir), `${sha256}.gguf`);
    const size = await stat(path).then(
      (stats) => stats.size,
      () => undefined,
    );
    if (size !== undefined) found.push({ name, path, bytes: size, source: `${hub.repository}@${hub.revision}` });
  }
  for (const entry of await namesIn(repositories(dataDir))) {
    if (!/^[0-9a-f]{64}\.json$/.test(entry)) continue;
    const note = JSON.parse(await readFile(join(repositories(dataDir), entry), "utf8")) as Note;
    const path = join(repositories(dataDir), entry.slice(0, -".json".length), note.file ?? "");
    found.push({ name: note.name, path, bytes: note.bytes, source: note.source });
  }
  return found.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Notes that `folder` holds `repository` as a whole, and gives it as a stored model. */
export async function noteStored(repository: CatalogueRepository, folder: string): Promise<StoredModel> {
  const { name, files, hub } = repository;
  const file = entryFile(files.map((content) => content.file));
  const bytes = files.reduce((sum, content) => sum + content.bytes, 0);
  const note: Note = { name, bytes, source: `${hub.repository}@${hub.revision.slice(0, 12)}`, file };
  const known = await readFile(`${folder}.json`, "utf8").catch(() => undefined);
  if (known !== JSON.stringify(note)) {
    await writeFile(`${folder}.json.new`, JSON.stringify(note));
    await rename(`${folder}.json.new`, `${folder}.json`);
  }
  return { name, bytes, source: note.source, path: join(folder, file ?? "") };
}

/** Removes a model from the disk; false where there is none of that name. What was converted from it stays usable until it is removed too. */
export async function removeStored(dataDir: string, name: string): Promise<boolean> {
  const known = catalogue.find((model) => model.name === name);
  const stored = (await storedModels(dataDir)).find((model) => model.name === name);
  if (stored === undefined) return false;
  if (known !== undefined) {
    await rm(stored.path);
    await rm(join(byHash(dataDir), `${known.sha256}.verified`), { force: true });
    return true;
  }
  const below = stored.path.slice(repositories(dataDir).length + 1);
  const id = below.split(/[/\\]/)[0]!;
  await rm(join(repositories(dataDir), `${basename(id)}.json`));
  await rm(join(repositories(dataDir), basename(id)), { recursive: true });
  return true;
}

function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  });
}
