/** What sets the supported decoders apart, beyond sizes. A table: the emitter reads it, the checkpoint readers fill in the sizes. */
import { CheckpointError } from "./gguf/error.ts";
import type { ArchitectureName } from "./types.ts";

export interface Architecture {
  /** Models that people know. */
  readonly families: string;
  /** Queries, keys and values have a bias. */
  readonly attentionBias: boolean;
  /** Each head's query and key go through a norm before they are rotated. */
  readonly headNorms: boolean;
  /** What attention and feed-forward give goes through a norm before it joins the residual stream. */
  readonly branchNorms: boolean;
  /** A checkpoint may rotate the first values of a head only. */
  readonly partialRotary: boolean;
  /** Of the gate. `gelu` is the tanh approximation. */
  readonly activation: "silu" | "gelu";
}

const PLAIN = {
  attentionBias: false,
  headNorms: false,
  branchNorms: false,
  partialRotary: false,
  activation: "silu",
} as const;

export const ARCHITECTURES: Readonly<Record<ArchitectureName, Architecture>> = {
  llama: { ...PLAIN, families: "Llama, SmolLM2, Mistral", partialRotary: true },
  qwen2: { ...PLAIN, families: "Qwen 2 and 2.5", attentionBias: true },
  qwen3: { ...PLAIN, families: "Qwen 3", headNorms: true },
  gemma3: { ...PLAIN, families: "Gemma 3", headNorms: true, branchNorms: true, activation: "gelu" },
  phi3: { ...PLAIN, families: "Phi 3, Phi 4 mini", partialRotary: true },
};

export function isArchitecture(name: unknown): name is ArchitectureName {
  return typeof name === "string" && Object.hasOwn(ARCHITECTURES, name);
}

/** For messages: every architecture with its families. */
export const SUPPORTED_ARCHITECTURES = Object.entries(ARCHITECTURES)
  .map(([name, { families }]) => `${name} (${families})`)
  .join(", ");

/** What a configuration says of the rotated values of a head. Throws CheckpointError where a model of this kind isn't known to have it. */
export function partOfHead(architecture: ArchitectureName, ropeDim: number, headDim: number): { ropeDim?: number } {
  if (ropeDim === headDim) return {};
  if (!ARCHITECTURES[architecture].partialRotary || ropeDim > headDim || ropeDim % 2 !== 0)
    throw new CheckpointError(
      `rotary embedding of ${ropeDim} of a head's ${headDim} dimensions is not supported in ${architecture} models`,
    );
  return { ropeDim };
}
