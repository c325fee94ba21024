import { appendFileSync } from "node:fs";
import { deployment } from "skein";

const free = { rayActorOptions: { numCpus: 0 } };

class Leaf {
  fetch() {
    return "leaf";
  }
}
class Mid {
  constructor(_a: unknown, _b: unknown) {}
  fetch() {
    return "mid";
  }
}
class Top {
  constructor(_mid: unknown, _leaf: unknown) {}
  fetch() {
    return "top";
  }
}
const leaf = deployment(Leaf, free).bind();
export const diamond = deployment(Top, free).bind(deployment(Mid, free).bind(leaf, leaf), leaf);

/** Counts its constructions in the file that CT_COUNT names. */
class Ctor {
  constructor() {
    appendFileSync(process.env["CT_COUNT"] ?? "", "x");
    throw new Error("always");
  }
  fetch() {
    return "never";
  }
}
export const ctor3 = deployment(Ctor, { ...free, numReplicas: 3, maxConstructorRetryCount: 7 }).bind();
export const ctor1 = deployment(Ctor, { ...free, maxConstructorRetryCount: 2 }).bind();
