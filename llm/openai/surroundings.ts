/** The real time, chance and timers of the process that serves the API. */
import type { Surroundings } from "./choices.ts";

export const REAL: Surroundings = {
  now: () => Date.now(),
  random: () => crypto.getRandomValues(new Uint32Array(1))[0]! / 2 ** 32,
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};
