/** A further thread of the `wasm` provider, in a tab: a dedicated Web Worker's entry. */
import { joinTeam, type TeamSeed } from "./kernels/team-thread.ts";

export interface TeamCall {
  readonly seed: TeamSeed;
  readonly thread: number;
}

self.addEventListener("message", ({ data }: MessageEvent<TeamCall>) => joinTeam(data.seed, data.thread), {
  once: true,
});
