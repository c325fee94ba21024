/**
 * The application that the mesh serves: every answer is a pure function of the request id, so that whoever asked can check each byte.
 * Every run of a handler is entered in the ledger, with the replica that ran it.
 */
import type { Manifest } from "../../protocol/artefact.ts";
import type { Context } from "../../serve/context.ts";
import { deployment, type DeploymentHandle } from "../../serve/index.ts";
import { graphEntry, graphOf } from "../../serve/graph.ts";
import { fnv } from "./clock.ts";
import type { SimProcess } from "./process.ts";

/** One run of a handler. */
export interface Execution {
  readonly number: number;
  readonly request: string;
  readonly deployment: string;
  readonly process: SimProcess;
  readonly startedAt: number;
  endedAt: number | null;
  /** When user code was told that nobody waits any more. */
  calledOffAt: number | null;
}

export class Ledger {
  readonly executions: Execution[] = [];
  readonly byRequest = new Map<string, Execution[]>();
  /** Running now. */
  readonly running = new Set<Execution>();

  begin(request: string, name: string, process: SimProcess, now: number): Execution {
    const execution: Execution = {
      number: this.executions.length,
      request,
      deployment: name,
      process,
      startedAt: now,
      endedAt: null,
      calledOffAt: null,
    };
    this.executions.push(execution);
    const known = this.byRequest.get(request);
    if (known === undefined) this.byRequest.set(request, [execution]);
    else known.push(execution);
    this.running.add(execution);
    return execution;
  }

  end(execution: Execution, now: number): void {
    execution.endedAt ??= now;
    this.running.delete(execution);
  }

  died(process: SimProcess, now: number): void {
    for (const execution of [...this.running]) if (execution.process === process) this.end(execution, now);
  }
}

/** What the handlers need of the replica they run in. */
export interface Place {
  readonly process: SimProcess;
  readonly ledger: Ledger;
  /** Factor on working times. */
  readonly slowness: number;
  now(): number;
}

const header = (request: string, index: number, execution: number): string =>
  `${request}:${index}:${fnv(`${request}/${index}`)}:${execution};`;

/** Chunk `index` of a request's answer. */
export function oracle(request: string, index: number, execution: number, size: number): Uint8Array {
  const text = header(request, index, execution);
  const bytes = new Uint8Array(Math.max(size, text.length)).fill(fnv(text) & 0xff);
  bytes.set(Buffer.from(text, "latin1"));
  return bytes;
}

/** The number of the execution that a chunk claims to come from. */
export const executionOf = (chunk: Uint8Array): number =>
  Number(Buffer.from(chunk.subarray(0, 100)).toString("latin1").split(";", 1)[0]!.split(":")[3]);

/** Answer of an upload. */
export const uploadOracle = (bytes: number): string => `took ${bytes}`;

class Work {
  readonly #place: Place;
  readonly #execution: Execution;
  readonly #signal: AbortSignal;

  constructor(place: Place, name: string, ctx: Context) {
    this.#place = place;
    this.#execution = place.ledger.begin(ctx.requestId, name, place.process, place.now());
    this.#signal = ctx.signal;
    const calledOff = (): void => void (this.#execution.calledOffAt = place.now());
    if (this.#signal.aborted) calledOff();
    else this.#signal.addEventListener("abort", calledOff);
  }

  get number(): number {
    return this.#execution.number;
  }

  /** Rejects when the request is called off. */
  async pause(ms: number): Promise<void> {
    if (ms <= 0) return;
    this.#signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const stop = this.#place.process.after(ms * this.#place.slowness, "works", resolve);
      this.#signal.addEventListener("abort", () => {
        stop();
        reject(new Error("called off"));
      });
    });
  }

  end(): void {
    this.#place.ledger.end(this.#execution, this.#place.now());
  }
}

/** Exports of the "bundle" as one replica sees it. */
export function applicationFor(place: Place): { readonly app: unknown } {
  async function* pieces(
    request: string,
    ctx: Context,
    name: string,
    count: number,
    delayMs: number,
    size: number,
  ): AsyncGenerator<Uint8Array> {
    const work = new Work(place, name, ctx);
    try {
      for (let i = 0; i < count; i += 1) {
        await work.pause(delayMs);
        yield oracle(request, i, work.number, size);
      }
    } finally {
      work.end();
    }
  }

  class Back {
    tokens(count: number, delayMs: number, size: number, ctx: Context): AsyncGenerator<Uint8Array> {
      return pieces(ctx.requestId, ctx, "Back", count, delayMs, size);
    }
  }

  class Front {
    readonly #back: DeploymentHandle<Back>;
    constructor(back: DeploymentHandle<Back>) {
      this.#back = back;
    }

    reconfigure(): void {}

    async fetch(request: Request, ctx: Context): Promise<unknown> {
      const query = new URL(request.url).searchParams;
      const number = (key: string): number => Number(query.get(key) ?? "0");
      switch (query.get("kind")) {
        case "stream":
          return pieces(ctx.requestId, ctx, "Front", number("count"), number("delay"), number("size"));
        case "call":
          return this.#relay(ctx, number("count"), number("delay"), number("size"));
        case "upload":
          return this.#upload(request, ctx, number("delay"));
        default:
          return this.#unary(ctx, number("delay"));
      }
    }

    async #unary(ctx: Context, delayMs: number): Promise<Uint8Array> {
      const work = new Work(place, "Front", ctx);
      try {
        await work.pause(delayMs);
        return oracle(ctx.requestId, 0, work.number, 0);
      } finally {
        work.end();
      }
    }

    async #upload(request: Request, ctx: Context, delayMs: number): Promise<string> {
      const work = new Work(place, "Front", ctx);
      try {
        let bytes = 0;
        for await (const piece of request.body as unknown as AsyncIterable<Uint8Array>) {
          bytes += piece.byteLength;
          await work.pause(delayMs);
        }
        return uploadOracle(bytes);
      } finally {
        work.end();
      }
    }

    async *#relay(ctx: Context, count: number, delayMs: number, size: number): AsyncGenerator<unknown> {
      const work = new Work(place, "Front", ctx);
      try {
        const back = ctx.call(this.#back).options({ stream: true }) as unknown as {
          tokens(count: number, delayMs: number, size: number): AsyncIterable<unknown>;
        };
        for await (const piece of back.tokens(count, delayMs, size)) yield piece;
      } finally {
        work.end();
      }
    }
  }

  const back = deployment(Back, { name: "Back" }).bind();
  return { app: deployment(Front, { name: "Front" }).bind(back as never) };
}

/** What the builder would have made of it. */
export async function simManifest(place: Place): Promise<Manifest> {
  const graph = await graphOf(applicationFor(place).app as never);
  return {
    schema: 1,
    importPath: "sim:app",
    args: {},
    export: "app",
    bundles: { node: "b".repeat(64), browser: null },
    assets: {},
    graph: {
      hash: graph.hash,
      ingress: graph.ingress,
      deployments: graph.nodes.map((node) => graphEntry(node, false)),
    },
  };
}
