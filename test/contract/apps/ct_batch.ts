import { BATCH_END, batch, deployment, getMultiplexedModelId, getReplicaContext, multiplexed } from "skein";

const pause = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const four = { maxBatchSize: 4, batchWaitTimeoutS: 0.3 };

class B {
  readonly #sizes: number[] = [];
  readonly #values = {
    ok: batch(async (xs: string[]) => {
      this.#sizes.push(xs.length);
      await pause(0.1);
      return xs.map((x) => `r${x}`);
    }, four),
    short: batch(async (xs: string[]) => xs.slice(0, -1), four),
    notlist: batch(async (_: string[]) => "abc" as unknown as string[], four),
    as_tuple: batch(async (xs: string[]) => Object.freeze([...xs]), four),
    boom: batch(async (_: string[]): Promise<string[]> => {
      throw new Error("batch failed");
    }, four),
    one_exc: batch(async (xs: string[]) => xs.map((x) => (x === "1" ? new Error("only this one") : x)), four),
  };
  readonly #streams = {
    stream: batch(async function* (xs: string[]) {
      for (let i = 0; i < 3; i += 1) {
        yield xs.map((x) => `${x}:${i} `);
        await pause(0.1);
      }
    }, four),
    stream_stop: batch(async function* (xs: string[]) {
      for (let i = 0; i < 3; i += 1) yield xs.map((x) => (x === "0" && i === 1 ? BATCH_END : `${x}:${i} `));
    }, four),
    stream_short: batch(async function* (xs: string[]) {
      yield xs;
      // As recorded, the first piece has left: what fails in one turn with it is answered 500.
      await pause(0.1);
      yield xs.slice(0, -1);
    }, four),
  };
  async fetch(request: Request) {
    const { searchParams } = new URL(request.url);
    const method = searchParams.get("m") ?? "";
    const x = searchParams.get("x") ?? "0";
    if (method === "sizes") return this.#sizes;
    if (method in this.#streams) return this.#streams[method as "stream"](x);
    try {
      return await this.#values[method as "ok"](x);
    } catch (error) {
      if (!searchParams.has("show")) throw error;
      return { type: (error as Error).name, str: (error as Error).message };
    }
  }
}
export const app = deployment(B, { rayActorOptions: { numCpus: 0 }, maxOngoingRequests: 100 }).bind();

class M {
  readonly #loads: string[] = [];
  readonly #model = multiplexed(
    (id) => {
      this.#loads.push(id);
      if (id === "bad") throw new Error("no such model");
      return `model-${id}`;
    },
    { maxNumModelsPerReplica: 2 },
  );
  async fetch() {
    const mid = getMultiplexedModelId();
    const model = await this.#model(mid);
    return { mid, model, loads: this.#loads, replica: getReplicaContext().replicaId };
  }
}
const served = deployment(M, { rayActorOptions: { numCpus: 0 }, maxOngoingRequests: 10, numReplicas: 2 });
export const mux = served.bind();
export const mux1 = served.options({ numReplicas: 1 }).bind();
