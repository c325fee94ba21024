/** The real time, chance and timers of the process that serves the API. */
import type { Surroundings } from "./choices.ts";

/** Many at once: asking for each took a quarter of a millisecond a request. */
const words = new Uint32Array(256);
let left = 0;

export const REAL: Surroundings = {
  now: () => Date.now(),
  random: () => {
    if (left === 0) left = crypto.getRandomValues(words).length;
    return words[--left]! / 2 ** 32;
  },
  after: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};
