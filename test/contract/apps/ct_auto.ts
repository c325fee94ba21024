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

class Auto {
  async fetch(request: Request) {
    await new Promise((resolve) => setTimeout(resolve, Number(new URL(request.url).searchParams.get("s")) * 1000));
    return "ok";
  }
}
export const app = deployment(Auto, {
  ...free,
  maxOngoingRequests: 20,
  gracefulShutdownWaitLoopS: 0.2,
  gracefulShutdownTimeoutS: 2,
}).bind();

/** Each construction is a line in the log: a replica may write to no file but its own. */
class Ctor {
  constructor() {
    console.log("constructor runs");
    throw new Error("always");
  }
  fetch() {
    return "never";
  }
}
export const ctor3 = deployment(Ctor, { ...free, numReplicas: 3, maxConstructorRetryCount: 7 }).bind();
export const ctor1 = deployment(Ctor, { ...free, maxConstructorRetryCount: 2 }).bind();
