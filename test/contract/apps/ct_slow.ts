import { deployment, type Context, type DeploymentHandle } from "skein";

/** Seconds with one decimal, as the recordings have them. */
const since = (start: number): string => `${((performance.now() - start) / 1000).toFixed(1)}s`;

/** Ends early, with the reason, when the request is called off: Python's cancelled sleep. */
function sleep(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}

class Child {
  readonly log: string[] = [];
  async slow(seconds: number, ctx: Context) {
    const start = performance.now();
    try {
      await sleep(seconds, ctx.signal);
      this.log.push("child finished");
      return "ok";
    } catch (error) {
      this.log.push(`child CancelledError after ${since(start)}`);
      throw error;
    }
  }
  get() {
    return this.log;
  }
}

class Slow {
  readonly #log: string[] = [];
  readonly #child: DeploymentHandle<Child>;
  constructor(child: DeploymentHandle<Child>) {
    this.#child = child;
  }

  async *#generate(n: number, delay: number, signal: AbortSignal) {
    const start = performance.now();
    try {
      for (let i = 0; i < n; i += 1) {
        yield `c${i};`;
        await sleep(delay, signal);
      }
      this.#log.push("stream finished");
    } catch (error) {
      this.#log.push(`stream CancelledError after ${since(start)}`);
      throw error;
    } finally {
      this.#log.push("stream finally");
    }
  }

  async fetch(request: Request, ctx: Context) {
    const query = new URL(request.url).searchParams;
    const number = (name: string, otherwise: number): number => Number(query.get(name) ?? otherwise);
    const start = performance.now();
    switch (query.get("m") ?? "sleep") {
      case "log":
        return { parent: [...this.#log], child: await ctx.call(this.#child).get() };
      case "sleep":
        try {
          await sleep(number("s", 1), ctx.signal);
          this.#log.push("sleep finished");
          return "done";
        } catch (error) {
          this.#log.push(`sleep CancelledError after ${since(start)}`);
          throw error;
        }
      case "block": {
        const until = performance.now() + number("s", 1) * 1000;
        while (performance.now() < until);
        this.#log.push("block finished");
        return "blocked";
      }
      case "child":
        try {
          return await ctx.call(this.#child).slow(number("s", 1));
        } catch (error) {
          this.#log.push(`awaiting child: CancelledError after ${since(start)}`);
          throw error;
        }
      case "stream":
        return this.#generate(number("n", 10), number("d", 0.3), ctx.signal);
      default:
        return "y";
    }
  }
}
const free = { rayActorOptions: { numCpus: 0 } };
export const app = deployment(Slow, { ...free, maxOngoingRequests: 10 }).bind(deployment(Child, free).bind());
