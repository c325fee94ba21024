/**
 * The models on this disk: those of the catalogue by their hashes, those of a hub by a note beside their folder
 * (`<dataDir>/models/repositories/<id>.json`), those of a URL by one beside their file. A note is written when what it is of is whole.
 */
import { readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { catalogue, type CatalogueRepository, findHubModel } from "./catalogue.ts";
import { wholeFiles } from "./file-store.ts";
import { entryFile, parseHubName } from "./hub-listing.ts";
import { parseModelUrl } from "./model-url.ts";

export interface StoredModel {
  readonly name: string;
  /** The GGUF or ONNX file, or the folder. */
  readonly path: string;
  readonly bytes: number;
  /** Such as `owner/repository@1234abcd`. */
  readonly source: string;
}

type Note = Omit<StoredModel, "path"> & {
  readonly file: string | undefined;
  /** SHA-256 of files, by their names in the folder, where it was fetched by that; folders of earlier versions have none. */
  readonly sha256?: Readonly<Record<string, string>>;
};

const repositories = (dataDir: string): string => join(dataDir, "models", "repositories");
/** What a file has that a URL named. Another URL of the same content adds nothing: it is found by its hash. */
type FileNote = Pick<StoredModel, "name" | "source">;

/** What is known by a name of the hub is listed by its name in the catalogue, where it has one. */
const shortName = (name: string): string => findHubModel(name)?.name ?? name;

/** Every model that is whole, by name. */
export async function storedModels(dataDir: string): Promise<StoredModel[]> {
  const found: StoredModel[] = [];
  for (const { name, sha256, hub } of catalogue) {
    const path = join(wholeFiles(dataDir), `${sha256}.gguf`);
    const size = await stat(path).then(
      (stats) => stats.size,
      () => undefined,
    );
    if (size !== undefined) found.push({ name, path, bytes: size, source: `${hub.repository}@${hub.revision}` });
  }
  for (const entry of await namesIn(wholeFiles(dataDir))) {
    const path = join(wholeFiles(dataDir), entry.replace(/\.json$/, ""));
    if (!/^[0-9a-f]{64}\.(gguf|onnx)\.json$/.test(entry) || found.some((model) => model.path === path)) continue;
    const { name, source } = JSON.parse(await readFile(join(wholeFiles(dataDir), entry), "utf8")) as FileNote;
    const stats = await stat(path).catch(() => undefined);
    if (stats !== undefined) found.push({ name, path, bytes: stats.size, source });
  }
  for (const entry of await namesIn(repositories(dataDir))) {
    if (!/^[0-9a-f]{64}\.json$/.test(entry)) continue;
    const note = JSON.parse(await readFile(join(repositories(dataDir), entry), "utf8")) as Note;
    const path = join(repositories(dataDir), entry.slice(0, -".json".length), note.file ?? "");
    found.push({ name: shortName(note.name), path, bytes: note.bytes, source: note.source });
  }
  return found.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** What the files of a stored model were accepted by, SHA-256 by path. Files that only git's hash is known of, or nothing, are left out. */
export async function storedHashes(dataDir: string, path: string): Promise<ReadonlyMap<string, string>> {
  const whole = /^([0-9a-f]{64})\.(gguf|onnx)$/.exec(basename(path));
  if (whole !== null && dirname(path) === wholeFiles(dataDir)) return new Map([[path, whole[1]!]]);
  const id = path.startsWith(repositories(dataDir) + sep) ? path.slice(repositories(dataDir).length + 1) : "";
  const folder = join(repositories(dataDir), id.split(sep)[0]!);
  const text = id === "" ? undefined : await readFile(`${folder}.json`, "utf8").catch(() => undefined);
  const { sha256 = {} } = text === undefined ? {} : (JSON.parse(text) as Note);
  return new Map(Object.entries(sha256).map(([file, hash]) => [join(folder, file), hash]));
}

/** Notes that `folder` holds `repository` as a whole, and gives it as a stored model. */
export async function noteStored(repository: CatalogueRepository, folder: string): Promise<StoredModel> {
  const { name, files, hub } = repository;
  const file = entryFile(
    files.map((content) => content.file),
    parseHubName(name)?.file,
  );
  const bytes = files.reduce((sum, content) => sum + content.bytes, 0);
  const sha256 = Object.fromEntries(
    files.flatMap((content) => ("sha256" in content ? [[content.file, content.sha256]] : [])),
  );
  const note: Note = { name, bytes, source: `${hub.repository}@${hub.revision.slice(0, 12)}`, file, sha256 };
  await writeNote(`${folder}.json`, note);
  return { name, bytes, source: note.source, path: join(folder, file ?? "") };
}

/** Notes which URL the whole file at `path` was fetched by; the first one stays. */
export async function noteStoredFile(path: string, note: FileNote): Promise<void> {
  const noted = await stat(`${path}.json`).catch(() => undefined);
  if (noted === undefined) await writeNote(`${path}.json`, note);
}

async function writeNote(path: string, note: Note | FileNote): Promise<void> {
  const text = JSON.stringify(note);
  if ((await readFile(path, "utf8").catch(() => undefined)) === text) return;
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

/** The model of a canonical name: a URL's is what has its hash, whatever it was fetched by. */
export async function findStored(dataDir: string, name: string): Promise<StoredModel | undefined> {
  const url = parseModelUrl(name);
  const path = url && join(wholeFiles(dataDir), `${url.sha256}.${url.extension}`);
  return (await storedModels(dataDir)).find((model) => model.name === shortName(name) || model.path === path);
}

/** Removes a model from the disk; false where there is none of that name. Not what was converted from it. */
export async function removeStored(dataDir: string, name: string): Promise<boolean> {
  const stored = await findStored(dataDir, name);
  if (stored === undefined) return false;
  if (dirname(stored.path) === wholeFiles(dataDir)) {
    await rm(stored.path);
    await rm(`${stored.path}.json`, { force: true });
    await rm(stored.path.replace(/\.\w+$/, ".verified"), { force: true });
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
