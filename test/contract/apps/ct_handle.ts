import { deployment, type DeploymentHandle } from "skein";

const free = { rayActorOptions: { numCpus: 0 }, maxOngoingRequests: 20 };

export class Target {
  readonly #seq: number[] = [];
  async add(a: number, b = 1) {
    return a + b;
  }
  async record(i: number) {
    this.#seq.push(i);
    return i;
  }
  get(what: "seq") {
    return { seq: this.#seq }[what];
  }
  async slow(_s: number) {}
  model_id() {}
  ctx() {}
  boom(): never {
    throw new Error("inner detail");
  }
  *gen(n: number) {
    for (let i = 0; i < n; i += 1) yield i;
  }
  async *agen(n: number, boom = -1) {
    for (let i = 0; i < n; i += 1) {
      if (i === boom) throw new Error("gen broke");
      yield i;
    }
  }
  echo(...args: unknown[]) {
    return args;
  }
}

/** Python's class of an exception, its ancestors and its first line have no counterpart. */
const err = (error: unknown): object => ({
  str_last_line: (error as Error).message
    .split("\n")
    .at(-1)
    ?.replace(/^\w*Error: /, ""),
});

async function outcome(act: () => unknown): Promise<object> {
  try {
    return { result: await act() };
  } catch (error) {
    return err(error);
  }
}

type Unchecked = Record<string, (...args: unknown[]) => PromiseLike<unknown>>;

class Driver {
  readonly #t: DeploymentHandle<Target>;
  constructor(t: DeploymentHandle<Target>) {
    this.#t = t;
  }
  async fetch(request: Request) {
    const t = this.#t;
    const unchecked = t as unknown as Unchecked;
    const streaming = t.options({ stream: true });
    switch (new URL(request.url).searchParams.get("t")) {
      case "missing":
        return {
          "unknown method": await outcome(() => unchecked["nope"]!()),
          "wrong args": await outcome(() => unchecked["add"]!()),
          private: await outcome(() => unchecked["_x"]!()),
        };
      case "exc":
        return outcome(() => t.boom());
      case "chain": {
        const a = t.add(1, 2);
        const b = t.add(a, 10);
        const c = t.add(1, b);
        return {
          b: await b,
          c: await c,
          response_inside_list_argument: await outcome(() => t.echo([t.add(1, 1)])),
          argument_that_failed: await outcome(() => t.add(t.boom(), 1)),
        };
      }
      case "order": {
        await Promise.all(Array.from({ length: 20 }, (_, i) => t.record(i)));
        return { executed_order: await t.get("seq"), issued_order: Array.from({ length: 20 }, (_, i) => i) };
      }
      default: {
        const got: number[] = [];
        const broken = await outcome(async () => {
          for await (const i of streaming.agen(5, 2)) got.push(i);
        });
        return {
          sync_gen: await Array.fromAsync(streaming.gen(3)),
          async_gen: await Array.fromAsync(streaming.agen(3)),
          broken: { got, ...broken },
          "stream=True on a unary method": await outcome(() =>
            Array.fromAsync(streaming.add(1) as AsyncIterable<never>),
          ),
          "generator method without stream=True": await outcome(() => t.gen(2)),
          "await a stream": await outcome(() => streaming.gen(2)),
        };
      }
    }
  }
}
export const app = deployment(Driver, free).bind(deployment(Target, free).bind());
