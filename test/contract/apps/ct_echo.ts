import { createHash } from "node:crypto";
import { deployment, type Context } from "skein";

/** What a handler sees. A web Request has no HTTP version and no ASGI scope: these keys are left out. */
class Echo {
  readonly #tag: string;
  constructor(tag = "echo") {
    this.#tag = tag;
  }
  async fetch(request: Request, ctx: Context) {
    const body = new Uint8Array(await request.arrayBuffer());
    const [, scheme = "", target = ""] = /^(\w+):\/\/[^/?]*(.*)$/.exec(request.url) ?? [];
    const [rawPath = "", ...query] = target.split("?");
    const prefix = ctx.replica.routePrefix ?? "";
    return {
      tag: this.#tag,
      method: request.method,
      scheme,
      path: decodeURIComponent(rawPath),
      raw_path: rawPath,
      root_path: prefix === "/" ? "" : prefix,
      query_string: query.join("?"),
      headers: [...request.headers],
      url: request.url,
      body_len: body.length,
      body_sha256_16: createHash("sha256").update(body).digest("hex").slice(0, 16),
      request_id: ctx.requestId,
      route_seen: prefix,
    };
  }
}
const deployed = deployment(Echo, { rayActorOptions: { numCpus: 0 } });

export const app = deployed.bind();
export const app1 = deployed.bind("one");
export const app2 = deployed.bind("two");
export const app3 = deployed.bind("three");
export const app4 = deployed.bind("four");
