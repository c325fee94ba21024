/** `skein models`: what models are on this disk, and fetching, describing and removing them. */
import { homedir } from "node:os";
import { resolve } from "node:path";
import { EXIT } from "../../protocol/errors.ts";
import { type KnownModel, memoryNeed } from "../../worker/models/about.ts";
import { knownModels, modelNames } from "../../worker/models/catalogue.ts";
import { isModelPath } from "../../worker/models/fetch-model.ts";
import { findInHubCache } from "../../worker/models/hub-cache.ts";
import { parseHubName } from "../../worker/models/hub-listing.ts";
import { canonicalName } from "../../worker/models/model-url.ts";
import { describeProgress } from "../../worker/models/progress.ts";
import { findStored, type StoredModel, storedModels } from "../../worker/models/stored-models.ts";
import { describeModel, type ModelFacts } from "../../worker/node/describe-model.ts";
import { ensureModel } from "../../worker/node/ensure-model.ts";
import { hubEnvironment } from "../../worker/node/hub-environment.ts";
import { removeModel as removeModelFiles } from "../../worker/node/remove-model.ts";
import { CommandFailed } from "../failure.ts";
import type { Shell } from "../shell.ts";
import { nearest } from "../suggest.ts";
import { table } from "../table.ts";

export interface ModelFlags {
  readonly dataDir?: string;
  readonly json?: boolean;
}

const directoryOf = ({ dataDir }: ModelFlags, shell: Shell): string =>
  dataDir === undefined ? shell.dataDirectory : resolve(shell.cwd, dataDir);
/** What is on the disk is known by its canonical name, whichever URL of the hub it was asked for by. */
const canonical = (name: string, shell: Shell): string => canonicalName(name, shell.env["HF_ENDPOINT"] || undefined);
const findKnown = (name: string): KnownModel | undefined => knownModels.find((model) => model.name === name);
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** Where Hugging Face's own tools have a model of the hub, if they do. */
async function inHubCache(name: string, shell: Shell): Promise<string | undefined> {
  const parsed = parseHubName(findKnown(name)?.source ?? name);
  const { hubCache } = await hubEnvironment(shell.env, homedir());
  return parsed && hubCache && findInHubCache(hubCache, parsed);
}
const HUB_CACHE = "Hugging Face's cache";

/** Tokens of the chat whose memory is listed: a slot as it is when nobody says. */
const LISTED_TOKENS = 2_048;

export async function listModels(flags: ModelFlags, shell: Shell): Promise<number> {
  const stored = await storedModels(directoryOf(flags, shell));
  const here = new Set(stored.map(({ name }) => name));
  const others = knownModels.filter(({ name }) => !here.has(name));
  const elsewhere = await Promise.all(
    others.map(async (known) => ({ ...known, cached: (await inHubCache(known.name, shell)) ?? null })),
  );
  if (flags.json === true) {
    const withFacts = stored.map((model) => ({ ...model, licence: findKnown(model.name)?.licence ?? null }));
    shell.out(`${JSON.stringify({ stored: withFacts, known: elsewhere }, null, 2)}\n`);
    return EXIT.ok;
  }
  const facts = (known: KnownModel | undefined): string[] =>
    known === undefined ? ["-", "-"] : [about(memoryNeed(known, LISTED_TOKENS)), licenceOf(known)];
  shell.out(
    table(
      ["NAME", "SIZE", "MEMORY", "LICENCE", "ON DISK"],
      [
        ...stored.map(({ name, bytes, source }) => [name, megabytes(bytes), ...facts(findKnown(name)), source]),
        ...elsewhere.map((known) => [
          known.name,
          sizeOf(known),
          ...facts(known),
          known.cached === null ? "not fetched yet" : HUB_CACHE,
        ]),
      ],
    ),
  );
  shell.note(
    `MEMORY is for one chat of ${LISTED_TOKENS} tokens on a CPU. *: the original asks for consent on the hub and for HF_TOKEN; ` +
      "a copy that doesn't is fetched, under the same licence.",
  );
  return EXIT.ok;
}

/** A size that nobody has counted. */
const about = (bytes: number): string => `~${Math.round(bytes / 1e6)} MB`;
const sizeOf = ({ bytes, isPinned }: KnownModel): string => (isPinned ? megabytes(bytes) : about(bytes));
const licenceOf = ({ licence, original }: KnownModel): string => (original === null ? licence : `${licence}*`);

export async function pullModel(name: string, flags: ModelFlags, shell: Shell): Promise<number> {
  const path = await ensureModel(name, {
    dataDir: directoryOf(flags, shell),
    onProgress: (progress) => shell.progress.show(`${name} ${describeProgress(progress)}`),
    signal: shell.stop,
  });
  shell.progress.clear();
  shell.out(`${path}\n`);
  return EXIT.ok;
}

/** A model on this disk; nobody has added up what others' folders hold. */
type Shown = Omit<StoredModel, "bytes"> & { readonly bytes: number | null };

/** Of what is on the disk, what its files say; else what the catalogue knows. Nothing is fetched to be shown. */
export async function showModel(given: string, flags: ModelFlags, shell: Shell): Promise<number> {
  const directory = directoryOf(flags, shell);
  const name = canonical(given, shell);
  const stored = await findStored(directory, name);
  const model: Shown | undefined = stored ?? (await modelAt(given, shell)) ?? (await cachedModel(name, shell));
  const known = findKnown(model?.name ?? given);
  if (model === undefined) {
    if (known === undefined) throw await missing(given, directory);
    shell.out(flags.json === true ? `${JSON.stringify({ ...known, path: null }, null, 2)}\n` : knownText(known));
    return EXIT.ok;
  }
  const facts = { ...model, licence: known?.licence ?? null, ...(await describeModel(model.path)) };
  if (flags.json === true) shell.out(`${JSON.stringify(facts, null, 2)}\n`);
  else {
    const licence = known === undefined ? "" : `  licence: ${known.licence}\n`;
    const size = model.bytes === null ? "" : `${megabytes(model.bytes)} `;
    shell.out(`${model.name}: ${worded(facts)}${licence}  ${size}from ${model.source}\n  ${model.path}\n`);
  }
  return EXIT.ok;
}

/** Where the name is a path. Throws NOT_FOUND where no model lies there. */
async function modelAt(given: string, shell: Shell): Promise<Shown | undefined> {
  if (!isModelPath(given)) return undefined;
  const path = await ensureModel(resolve(shell.cwd, given), { dataDir: shell.dataDirectory });
  return { name: given, path, bytes: null, source: "this disk" };
}

/** By its short name, where it has one. */
async function cachedModel(canonicalOne: string, shell: Shell): Promise<Shown | undefined> {
  const name = knownModels.find(({ source }) => source === canonicalOne)?.name ?? canonicalOne;
  const path = await inHubCache(name, shell);
  return path === undefined ? undefined : { name, path, bytes: null, source: HUB_CACHE };
}

/** Pure: what is said of a model that isn't here. */
function knownText(known: KnownModel): string {
  const { name, source, licence, original, isPinned } = known;
  const terms =
    original === null
      ? ""
      : `  made from ${original}, which asks for consent on the hub and for HF_TOKEN; this copy is under the same licence\n`;
  const pinned = isPinned
    ? "its content is pinned here"
    : "size and memory are about right, nobody fetched it where this was written; its content is what the hub says at the first fetch";
  return (
    `${name}: not fetched yet\n` +
    `  ${memoryText(known, about)}` +
    `  licence: ${licence}\n${terms}` +
    `  ${sizeOf(known)} from ${source}\n  ${pinned}\n`
  );
}

/** Weights by provider, and what a chat adds. */
function memoryText(
  { weights, bytesPerToken }: Pick<KnownModel, "weights" | "bytesPerToken">,
  size: typeof megabytes,
): string {
  const { native, webgpu, wasm } = weights;
  const chat =
    bytesPerToken === 0
      ? ""
      : `\n  ${Math.ceil(bytesPerToken / 1024)} KiB of memory for each token of a slot: ${megabytes(bytesPerToken * LISTED_TOKENS)} for a chat of ${LISTED_TOKENS}`;
  return `weights in memory: native ${size(native)}, webgpu ${size(webgpu)}, wasm ${size(wasm)}${chat}\n`;
}

function worded(facts: ModelFacts): string {
  if (facts.kind === "graph") {
    const { task, contextLength, inputs, outputs, labels } = facts;
    const values = (of: typeof inputs): string =>
      of.map(({ name, type, shape }) => `${name} ${type ?? "?"}[${shape?.join(", ") ?? "?"}]`).join(", ");
    return (
      (task === null ? "ONNX graph\n" : `${task} of texts, ${contextLength} tokens at most\n`) +
      `  inputs: ${values(inputs)}\n  outputs: ${values(outputs)}\n` +
      (labels.length > 0 ? `  classes: ${labels.slice(0, 20).join(", ")}${labels.length > 20 ? ", …" : ""}\n` : "")
    );
  }
  const { architecture, layers, contextLength, vocabulary, hasChatTemplate } = facts;
  return (
    `language model, for ${hasChatTemplate ? "chats" : "plain prompts only"}\n` +
    `  ${architecture}, ${layers} layers, ${contextLength} tokens at most, ${vocabulary} in the vocabulary\n` +
    `  ${memoryText(facts, megabytes)}`
  );
}

export async function removeModel(given: string, flags: ModelFlags, shell: Shell): Promise<number> {
  const directory = directoryOf(flags, shell);
  const name = canonical(given, shell);
  const copies = await removeModelFiles(directory, name);
  if (copies === undefined) throw await missing(given, directory);
  const converted =
    copies === 0 ? "" : ` and ${copies === 1 ? "its converted copy" : `its ${copies} converted copies`}`;
  shell.note(`Removed ${given}${converted}.`);
  return EXIT.ok;
}

async function missing(name: string, directory: string): Promise<CommandFailed> {
  const known = await storedModels(directory);
  const others = [...known.map((model) => model.name), ...modelNames].filter((other) => other !== name);
  const near = modelNames.includes(name) ? undefined : nearest(name, others);
  const hint = near === undefined ? "See: skein models list" : `Did you mean "${near}"?`;
  return new CommandFailed(EXIT.notFound, `No model "${name}" is on this disk. ${hint}`);
}
