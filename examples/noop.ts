import { deployment } from "skein";

class Noop {
  /** GET answers "ok"; anything with a body gets its body back. */
  fetch(request: Request) {
    return request.method === "GET" ? "ok" : request.arrayBuffer();
  }
}

export const app = deployment(Noop, { maxOngoingRequests: 1000, rayActorOptions: { numCpus: 0.1 } }).bind();
