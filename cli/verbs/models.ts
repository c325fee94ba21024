/** `skein models`: what models are on this disk, and fetching, describing and removing them. */
import { resolve } from "node:path";
import { EXIT } from "../../protocol/errors.ts";
import { modelNames } from "../../worker/models/catalogue.ts";
import { canonicalName } from "../../worker/models/model-url.ts";
import { describeProgress } from "../../worker/models/progress.ts";
import { findStored, removeStored, storedModels } from "../../worker/models/stored-models.ts";
import { describeModel, type ModelFacts } from "../../worker/node/describe-model.ts";
import { ensureModel } from "../../worker/node/ensure-model.ts";
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
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

export async function listModels(flags: ModelFlags, shell: Shell): Promise<number> {
  const stored = await storedModels(directoryOf(flags, shell));
  const here = new Set(stored.map(({ name }) => name));
  const elsewhere = modelNames.filter((name) => !here.has(name));
  if (flags.json === true) shell.out(`${JSON.stringify({ stored, known: elsewhere }, null, 2)}\n`);
  else {
    const rows = stored.map(({ name, bytes, source }) => [name, megabytes(bytes), source]);
    shell.out(table(["NAME", "SIZE", "SOURCE"], [...rows, ...elsewhere.map((name) => [name, "-", "not fetched yet"])]));
  }
  return EXIT.ok;
}

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

/** What is on the disk only: nothing is fetched to be shown. */
export async function showModel(given: string, flags: ModelFlags, shell: Shell): Promise<number> {
  const directory = directoryOf(flags, shell);
  const name = canonical(given, shell);
  const model = await findStored(directory, name);
  if (model === undefined) throw await missing(name, directory);
  const facts = { ...model, ...(await describeModel(model.path)) };
  if (flags.json === true) shell.out(`${JSON.stringify(facts, null, 2)}\n`);
  else {
    shell.out(`${name}: ${worded(facts)}  ${megabytes(model.bytes)} from ${model.source}\n  ${model.path}\n`);
  }
  return EXIT.ok;
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
  const { architecture, layers, contextLength, vocabulary, bytesPerToken, hasChatTemplate } = facts;
  return (
    `language model, for ${hasChatTemplate ? "chats" : "plain prompts only"}\n` +
    `  ${architecture}, ${layers} layers, ${contextLength} tokens at most, ${vocabulary} in the vocabulary\n` +
    `  ${Math.ceil(bytesPerToken / 1024)} KiB of memory for each token of a slot\n`
  );
}

export async function removeModel(given: string, flags: ModelFlags, shell: Shell): Promise<number> {
  const directory = directoryOf(flags, shell);
  const name = canonical(given, shell);
  if (!(await removeStored(directory, name))) throw await missing(name, directory);
  shell.note(`Removed ${name}.`);
  return EXIT.ok;
}

async function missing(name: string, directory: string): Promise<CommandFailed> {
  const known = await storedModels(directory);
  const near = nearest(
    name,
    known.map((model) => model.name),
  );
  const hint = near === undefined ? "See: skein models list" : `Did you mean "${near}"?`;
  return new CommandFailed(EXIT.notFound, `No model "${name}" is on this disk. ${hint}`);
}
