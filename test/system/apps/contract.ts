import { deployment, type Context } from "skein";
import { LanguageModel } from "skein/llm";
import { OnnxModel } from "skein/onnx";

/** What a replica must be able to do, whatever it runs in. Needs nothing of Node. */
class Contract {
  model!: LanguageModel;
  readonly #path: string;
  /** Endless streams that run, and bytes that they have given. */
  #running = 0;
  #given = 0;
  constructor(path: string) {
    this.#path = path;
  }

  async init() {
    this.model = await LanguageModel.load(this.#path, { slotLength: 448, slots: 2 });
  }

  async fetch(request: Request, ctx: Context) {
    switch (new URL(request.url).pathname.split("/").at(-1)) {
      case "who":
        return { ...ctx.replica, provider: this.model.provider, isTab: typeof process === "undefined" };
      case "chat":
        return {
          replica: ctx.replica.replicaId,
          kind: ctx.replica.kind,
          text: await this.model.complete(await request.json(), { maxTokens: 24 }),
        };
      case "stream":
        return this.model.complete(await request.json(), { maxTokens: 24, signal: ctx.signal }).stream();
      case "endless":
        return this.#endless();
      case "counts":
        return { running: this.#running, given: this.#given };
      case "crash":
        setTimeout(() => {
          throw new Error("crashed on purpose");
        }, 0);
        return "soon";
      case "print":
        console.log("printed by", ctx.replica.kind);
        return null;
      default:
        return new Response("no such path", { status: 404 });
    }
  }

  async *#endless() {
    this.#running += 1;
    try {
      for (;;) {
        const piece = "x".repeat(16_384);
        this.#given += piece.length;
        yield piece;
      }
    } finally {
      this.#running -= 1;
    }
  }
}

/** `on`: custom resource that the chosen worker offers. */
export const app = (args: { model?: string; on?: string; gpus?: number }) =>
  deployment(Contract, {
    maxOngoingRequests: 20,
    rayActorOptions: { numCpus: 0.5, numGpus: args.gpus ?? 0, resources: { [args.on ?? "cpu"]: 0.4 } },
  }).bind(args.model ?? "");

/** Vectors of texts. */
class Vectors {
  model!: OnnxModel;
  readonly #path: string;
  constructor(path: string) {
    this.#path = path;
  }
  async init() {
    this.model = await OnnxModel.load(this.#path);
  }
  async fetch(request: Request) {
    return (await this.model.embed(await request.json())).map((vector) => [...vector]);
  }
}

export const vectors = (args: { model?: string; on?: string }) =>
  deployment(Vectors, {
    rayActorOptions: { numCpus: 0.5, numGpus: 0, resources: { [args.on ?? "cpu"]: 0.4 } },
  }).bind(args.model ?? "");
