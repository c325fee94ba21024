/** The engine in a thread of its own, as a replica has it. */
import { EngineClient } from "../engine/index.ts";
import { spawnNodeEngine } from "../engine/spawn-node.ts";

export const startEngine = (): Promise<EngineClient> =>
  EngineClient.start({
    spawn: () => spawnNodeEngine(),
    after: (ms, callback) => {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
  });
