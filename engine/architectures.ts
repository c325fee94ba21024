/** What sets the supported decoders apart, beyond sizes. A table: the emitter reads it, the checkpoint readers fill in the sizes. */
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
  /** Of the gate. `gelu` is the tanh approximation. */
  readonly activation: "silu" | "gelu";
}

const PLAIN = { attentionBias: false, headNorms: false, branchNorms: false, activation: "silu" } as const;

export const ARCHITECTURES: Readonly<Record<ArchitectureName, Architecture>> = {
  llama: { ...PLAIN, families: "Llama, SmolLM2, Mistral" },
  qwen2: { ...PLAIN, families: "Qwen 2 and 2.5", attentionBias: true },
  qwen3: { ...PLAIN, families: "Qwen 3", headNorms: true },
  gemma3: { families: "Gemma 3", attentionBias: false, headNorms: true, branchNorms: true, activation: "gelu" },
  phi3: { ...PLAIN, families: "Phi 3" },
};

export function isArchitecture(name: unknown): name is ArchitectureName {
  return typeof name === "string" && Object.hasOwn(ARCHITECTURES, name);
}

/** For messages: every architecture with its families. */
export const SUPPORTED_ARCHITECTURES = Object.entries(ARCHITECTURES)
  .map(([name, { families }]) => `${name} (${families})`)
  .join(", ");
