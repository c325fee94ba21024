import { deployment } from "skein";

class BadV2 {
  constructor() {
    throw new Error("v2 cannot start");
  }
  fetch() {
    return "v2";
  }
}
export const app = deployment(BadV2, {
  name: "U",
  rayActorOptions: { numCpus: 0 },
  gracefulShutdownTimeoutS: 5,
  gracefulShutdownWaitLoopS: 0.5,
}).bind();
