import { deployment, type Context } from "skein";

/** Says which replica answered, in which process. */
class Who {
  constructor() {
    console.log("who is here");
  }
  fetch(_request: Request, ctx: Context) {
    return { replica: ctx.replica.replicaId, pid: process.pid };
  }
}
export const app = deployment(Who, { rayActorOptions: { numCpus: 0.5 } }).bind();

/** Its constructor throws, or its code takes the process down. */
class Broken {
  constructor(how: string) {
    if (how === "throw") throw new Error("the constructor is broken");
    process.exit(9);
  }
  fetch() {
    return "never";
  }
}
export const broken = (args: { how?: string }) =>
  deployment(Broken, { maxConstructorRetryCount: 1 }).bind(args.how ?? "throw");

/** Never gives its thread back once it was asked. */
class Stuck {
  fetch(): string {
    for (;;);
  }
}
export const stuck = deployment(Stuck, { rayActorOptions: { numCpus: 0.1 } }).bind();
