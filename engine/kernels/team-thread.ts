/** What a member of the team is given to start with, and what it does. How its thread is started is the platform's. */
import type { ModelConfig } from "../types.ts";
import type { DecoderMemory } from "./decoder-memory.ts";
import { decoderPhases, type Phase } from "./decoder-phases.ts";
import type { StoredDecoder } from "./decoder-weights.ts";
import { instantiateKernels } from "./instance.ts";
import { controlOf, follow } from "./team.ts";

/** Structured-cloneable, where the memory is shared. */
export interface TeamSeed {
  readonly modules: readonly WebAssembly.Module[];
  readonly memory: WebAssembly.Memory;
  readonly places: DecoderMemory;
  readonly config: ModelConfig;
  readonly decoder: StoredDecoder;
  readonly slotLength: number;
  readonly threads: number;
}

/** A thread of the team as the leader sees it. */
export interface TeamThread {
  /** `handler` gets a reason when the thread ends without having been told to. */
  onEnd(handler: (reason: string) => void): void;
  /** Ends it whatever it does; resolves when it is gone, as far as the platform says. */
  terminate(): Promise<void>;
}

/** Starts a thread that calls `joinTeam` with these. */
export type StartTeamThread = (seed: TeamSeed, thread: number) => TeamThread;

export function teamPhases({ modules, memory, places, ...rest }: TeamSeed): Phase[] {
  const { buffer } = memory;
  return decoderPhases({ ...rest, memory: places, kernels: instantiateKernels(modules, memory), buffer });
}

/** Works until the thread is ended from outside. */
export function joinTeam(seed: TeamSeed, thread: number): never {
  const phases = teamPhases(seed);
  return follow(controlOf(seed.memory.buffer, seed.places.control, phases.length), phases, thread);
}
