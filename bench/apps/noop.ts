/** Applications of the mesh bench: as little user code as there can be. */
import { deployment, type DeploymentHandle } from "skein";
import { chunkText } from "../http-chunk.ts";

const options = { maxOngoingRequests: 1000, rayActorOptions: { numCpus: 0.1 } };

class Noop {
  fetch() {
    return "ok";
  }
  say() {
    return "ok";
  }
}
const noop = deployment(Noop, options);
export const app = noop.bind();

/** As most people write it. */
class Web {
  fetch() {
    return new Response("ok");
  }
}
export const web = deployment(Web, options).bind();

/** Waits for another deployment's answer. */
class Front {
  readonly #back: DeploymentHandle<Noop>;
  constructor(back: DeploymentHandle<Noop>) {
    this.#back = back;
  }
  async fetch() {
    return await this.#back.say();
  }
}
export const hops = deployment(Front, options).bind(noop.bind());

/** `/stream?n=1000&ms=0`: n numbered chunks, ms between two. */
class Stream {
  async *fetch(request: Request) {
    const { searchParams } = new URL(request.url);
    const ms = Number(searchParams.get("ms"));
    for (let i = 0; i < Number(searchParams.get("n")); i += 1) {
      yield chunkText(i);
      if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
    }
  }
}
export const stream = deployment(Stream, options).bind();
