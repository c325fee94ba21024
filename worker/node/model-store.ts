/**
 * Models for this worker's replicas: fetched and converted once, by the agent, under a lock; replicas only read what is ready.
 * The conversion runs in a child, because it takes seconds of one core and reads files from elsewhere.
 * What this needs of the engine is loaded when the first model is asked for: many workers never are.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { SkeinError } from "../../protocol/errors.ts";
import type { LocatedModel } from "../../protocol/local.ts";
import { findModel } from "../models/catalogue.ts";
import type { FetchProgress } from "../models/progress.ts";
import { preparedFolder } from "./data-directory.ts";
import { LAST_WORDS_MAX } from "./limits.ts";

type Provider = "webgpu" | "native" | "wasm";

const PREPARE = fileURLToPath(new URL("../../engine/prepare-main.ts", import.meta.url));

/** Hears what is done, and how many s of that are left where it can be told. */
type Tell = (doing: string, leftS?: number) => void;

export class ModelStore {
  /** Prepared models, one directory each. */
  readonly folder: string;
  readonly #dataDir: string;
  /** One piece of work per model and provider, however many replicas ask; each listens to its progress. */
  readonly #underWay = new Map<string, { readonly listeners: Set<Tell>; readonly directory: Promise<string> }>();

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
    this.folder = preparedFolder(dataDir);
  }

  /** @param slotLength tokens of its slots: for long ones, some models are prepared otherwise */
  async locate(name: string, provider: Provider, onProgress: Tell, slotLength?: number): Promise<LocatedModel> {
    const known = await this.#alreadyPrepared(name, provider);
    if (known !== null) return { kind: "prepared", directory: known };
    const key = `${provider} ${slotLength ?? ""} ${name}`;
    let work = this.#underWay.get(key);
    if (work === undefined) {
      const listeners = new Set<Tell>();
      const tell: Tell = (doing, leftS) => listeners.forEach((listener) => listener(doing, leftS));
      work = {
        listeners,
        directory: this.#make(name, provider, slotLength, tell).finally(() => this.#underWay.delete(key)),
      };
      this.#underWay.set(key, work);
    }
    work.listeners.add(onProgress);
    try {
      return { kind: "prepared", directory: await work.directory };
    } finally {
      work.listeners.delete(onProgress);
    }
  }

  /** A model of the catalogue has one content, whose conversion has one place: what is there is whole (it was renamed into place). */
  async #alreadyPrepared(name: string, provider: Provider): Promise<string | null> {
    const model = findModel(name);
    if (model === undefined) return null;
    const { preparedDirectory } = await import("../../engine/node/prepared-cache.ts");
    const directory = preparedDirectory(this.folder, model.sha256, provider);
    return existsSync(directory) ? directory : null;
  }

  async #make(name: string, provider: Provider, slotLength: number | undefined, tell: Tell): Promise<string> {
    tell(`looking for model ${name}`);
    const [{ ensureModel }, { describeProgress }] = await Promise.all([
      import("./ensure-model.ts"),
      import("../models/progress.ts"),
    ]);
    const path = await ensureModel(name, {
      dataDir: this.#dataDir,
      onProgress: (progress) => tell(`model ${name} ${describeProgress(progress)}`, secondsLeft(progress)),
    });
    let began: { readonly stage: string; readonly at: number } | undefined;
    return prepare(path, provider, slotLength, this.folder, (stage, percent) => {
      if (began?.stage !== stage) began = { stage, at: performance.now() };
      const elapsedS = (performance.now() - began.at) / 1_000;
      const leftS = percent === 0 ? undefined : (elapsedS * (100 - percent)) / percent;
      tell(`${stage === "hash" ? "checking" : "converting"} model ${name}: ${percent} %`, leftS);
    });
  }
}

/** Of the download, if it goes on as it did so far. */
const secondsLeft = ({ bytes, total, bytesPerSecond }: FetchProgress): number | undefined =>
  bytesPerSecond > 0 ? (total - bytes) / bytesPerSecond : undefined;

/** Runs engine/prepare-main.ts to its end; resolves with the directory that its last line names. */
export function prepare(
  gguf: string,
  provider: Provider,
  slotLength: number | undefined,
  cache: string,
  onPercent: (stage: string, percent: number) => void,
): Promise<string> {
  return new Promise((resolve, reject) => {
    // Its progress goes into a pipe of ours: when this process dies, its next line ends it.
    const length = slotLength === undefined ? [] : ["--slot-length", String(slotLength)];
    const child = spawn(
      process.execPath,
      [PREPARE, "--gguf", gguf, "--target", provider, "--cache", cache, ...length],
      {
        stdio: ["ignore", "pipe", "pipe"],
        detached: process.platform !== "win32",
      },
    );
    let directory: string | null = null;
    let errors = "";
    createInterface({ input: child.stdout }).on("line", (line) => {
      const said = JSON.parse(line) as { prepared?: string; stage?: string; done?: number; total?: number };
      if (said.prepared !== undefined) directory = said.prepared;
      else if (said.stage !== undefined)
        onPercent(said.stage, Math.floor((100 * (said.done ?? 0)) / (said.total || 1)));
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors = (errors + text).slice(-LAST_WORDS_MAX);
    });
    child.on("error", (cause) =>
      reject(new SkeinError("INTERNAL", `The model can't be converted: ${cause.message}`, { cause })),
    );
    child.on("close", (code, signal) => {
      if (code === 0 && directory !== null) resolve(directory);
      else
        reject(
          new SkeinError(
            "INTERNAL",
            errors.trim() || `The model's conversion ended (${signal ?? `exit code ${code}`}) without saying why.`,
          ),
        );
    });
  });
}
