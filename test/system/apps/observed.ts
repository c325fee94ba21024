import { createHash } from "node:crypto";
import { connect, type Socket } from "node:net";
import { deployment, type Context } from "skein";

/** Answers name what they were asked for, and an observer on port `observer` hears of every run, when it begins and when it has ended. */
class Observed {
  readonly #port: number;
  #observer!: Socket;

  constructor(port: number) {
    this.#port = port;
  }

  async init() {
    this.#observer = connect({ port: this.#port, host: "127.0.0.1", noDelay: true });
    this.#observer.on("error", () => {});
    await new Promise((resolve) => this.#observer.once("connect", resolve));
  }

  async fetch(request: Request, ctx: Context) {
    const url = new URL(request.url);
    const id = url.searchParams.get("id") ?? "";
    const ms = Number(url.searchParams.get("ms") ?? 0);
    this.#tell("begin", id);
    if (url.pathname === "/stream") return this.#stream(id, Number(url.searchParams.get("n") ?? 50), ms);
    if (ms > 0) await pause(ms);
    const hash = createHash("sha256");
    if (request.method === "POST") for await (const piece of request.body ?? []) hash.update(piece);
    this.#tell("end", id);
    return { id, sha256: hash.digest("hex"), replica: ctx.replica.replicaId };
  }

  /** Lines that say whose they are: a client sees a gap, a repetition, an early end, and another's answer. */
  async *#stream(id: string, n: number, ms: number) {
    for (let i = 0; i < n; i += 1) {
      await pause(ms);
      yield `${id} ${i}\n`;
    }
    this.#tell("end", id);
  }

  /** In the kernel's hands when this returns: a kill -9 a moment later takes nothing back. */
  #tell(what: "begin" | "end", id: string) {
    this.#observer.write(`${process.pid} ${what} ${id}\n`);
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export const app = (args: { observer: number }) =>
  deployment(Observed, { maxOngoingRequests: 1_000, rayActorOptions: { numCpus: 0.1 } }).bind(args.observer);
