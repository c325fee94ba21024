// A class behind gRPC: skein run grpc.yaml, then
// grpcurl -plaintext -d '{"name": "Ada"}' localhost:9000 example.Chat/Greet
import { setTimeout as sleep } from "node:timers/promises";
import { deployment, type Context } from "skein";

class Chat {
  // Messages are plain objects: fields in camelCase, 64-bit integers as bigint.
  greet(request: { name: string }, ctx: Context) {
    if (request.name === "") {
      ctx.grpc!.setCode("INVALID_ARGUMENT");
      ctx.grpc!.setDetails("Whom shall I greet?");
      return {};
    }
    ctx.grpc!.setTrailing({ "greeted-by": ctx.replica.replicaId });
    return { text: `Hello, ${request.name}!` };
  }

  async *count({ to, every }: { to: number; every?: { seconds: bigint; nanos: number } }, ctx: Context) {
    const ms = every === undefined ? 0 : Number(every.seconds) * 1000 + every.nanos / 1e6;
    for (let n = 1; n <= to; n++) {
      yield { n };
      // Ends at once when the client cancels, or its deadline passes.
      if (ms > 0) await sleep(ms, undefined, { signal: ctx.signal });
    }
  }

  async add(numbers: AsyncIterable<{ value: bigint }>) {
    let total = 0n;
    for await (const { value } of numbers) total += value;
    return { total };
  }

  async *echo(requests: AsyncIterable<{ name: string }>) {
    for await (const { name } of requests) yield { text: name };
  }

  fetch() {
    return "This application speaks gRPC too.";
  }
}

export const app = deployment(Chat, { rayActorOptions: { numCpus: 0.1 } }).bind();
