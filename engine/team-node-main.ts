/** A further thread of the `wasm` provider, in Node; the engine's thread starts it. */
import { workerData } from "node:worker_threads";
import { joinTeam, type TeamSeed } from "./kernels/team-thread.ts";

const { seed, thread } = workerData as { seed: TeamSeed; thread: number };
joinTeam(seed, thread);
