// A generator is streamed, chunk by chunk: curl -N 'localhost:8000/?n=5'
import { deployment } from "skein";

class Stream {
  async *fetch(request: Request) {
    const query = new URL(request.url).searchParams;
    const n = Number(query.get("n") ?? 10);
    const delay = Number(query.get("delay") ?? 100);
    for (let i = 0; i < n; i++) {
      if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay));
      yield `chunk ${i}\n`;
    }
  }
}

export const app = deployment(Stream, { maxOngoingRequests: 100, rayActorOptions: { numCpus: 0.1 } }).bind();
