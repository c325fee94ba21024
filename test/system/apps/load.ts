import { createHash } from "node:crypto";
import { deployment, type Context } from "skein";

/** Answers by which load generators judge a mesh: each says what it was asked for, so that a mixed-up or lost one is seen. */
class Load {
  /** Generators that run now, all that ever started, and bytes that they have given. */
  #running = 0;
  #started = 0;
  #given = 0;

  async fetch(request: Request, ctx: Context) {
    const url = new URL(request.url);
    const number = (name: string, otherwise: number) => Number(url.searchParams.get(name) ?? otherwise);
    switch (url.pathname) {
      case "/":
        return { id: url.searchParams.get("id"), replica: ctx.replica.replicaId, pid: process.pid };
      case "/keyed":
        await pause(number("ms", 0));
        return { id: url.searchParams.get("id"), ...(await sizeAndHash(request)), replica: ctx.replica.replicaId };
      case "/counts":
        return { running: this.#running, started: this.#started, given: this.#given };
      case "/stream":
        return this.#stream(number("n", 50), number("ms", 10));
      case "/endless":
        return this.#endless(number("bytes", 16_384), number("ms", 0));
      case "/download":
        return this.#download(number("mib", 200));
      case "/upload":
        return await sizeAndHash(request);
      default:
        return new Response("no such path", { status: 404 });
    }
  }

  /** Numbered lines: a client sees a gap, a repetition or an early end. */
  async *#stream(n: number, ms: number) {
    for (let i = 0; i < n; i += 1) {
      await pause(ms);
      yield `${i}\n`;
    }
  }

  async *#endless(bytes: number, ms: number) {
    const piece = "x".repeat(bytes);
    this.#running += 1;
    this.#started += 1;
    try {
      for (;;) {
        this.#given += bytes;
        yield piece;
        await pause(ms);
      }
    } finally {
      this.#running -= 1;
    }
  }

  async *#download(mib: number) {
    for (let i = 0; i < mib * 16; i += 1) yield new Uint8Array(65_536).fill(i % 251);
  }
}

const pause = (ms: number): Promise<void> =>
  ms === 0 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, ms));

async function sizeAndHash(request: Request) {
  const hash = createHash("sha256");
  let size = 0;
  for await (const piece of request.body ?? []) {
    hash.update(piece);
    size += piece.byteLength;
  }
  return { size, sha256: hash.digest("hex") };
}

export const app = deployment(Load, { maxOngoingRequests: 1_000, rayActorOptions: { numCpus: 0.1 } }).bind();
