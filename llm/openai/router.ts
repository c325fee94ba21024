/** OpenAI's routes. Finds the model that a request names, and passes on what the model answers, wherever it runs. */
import { Hono, type Context as HonoContext } from "hono";
import { OPENAI_BODY_MAX } from "../../protocol/limits.ts";
import type { Context } from "../../serve/context.ts";
import { type DeploymentHandle, targetOf } from "../../serve/handle.ts";
import { type Loading, runtime } from "../../serve/runtime.ts";
import { readText } from "../body.ts";
import { withErrors, type Answer, type AnswerHead } from "./answer.ts";
import type { Surroundings } from "./choices.ts";
import { errorFormOf } from "./error-form.ts";
import { ApiError, apiError, invalid } from "./errors.ts";
import { LoadedModel } from "./loading.ts";
import { ENDPOINTS, factsOf, ModelServer, type Endpoint, type ModelCard, type ModelSettings } from "./model-server.ts";
import { parseWithSeed } from "./seeds.ts";
import { REAL } from "./surroundings.ts";

/** A model as the routes see it. */
interface Backend {
  readonly id: string;
  /** Answered once it is loaded. */
  describe(): PromiseLike<ModelCard>;
  /** What it does until then, where that is known. */
  loading(): Loading | undefined;
  answer(endpoint: Endpoint, body: unknown, ctx: Context): { readonly answer: Answer; readonly cancel: () => void };
}

interface Known extends Backend {
  readonly loaded: LoadedModel;
}

/** A model in a deployment of its own. */
export interface ServedModel {
  readonly id: string;
  readonly handle: DeploymentHandle<ModelServer>;
}

const remote = ({ id, handle }: ServedModel): Backend => ({
  id,
  describe: () => handle.describe(),
  loading: () => runtime().loading.get(targetOf(handle).deployment),
  answer: (endpoint, body, ctx) => {
    const call = ctx.call(handle).options({ stream: true }).answer(endpoint, body);
    return { answer: call[Symbol.asyncIterator]() as Answer, cancel: () => call.cancel() };
  },
});

const local = (id: string, server: ModelServer): Backend => ({
  id,
  describe: () => Promise.resolve(server.describe()),
  loading: () => undefined,
  answer: (endpoint, body, ctx) => {
    const left = new AbortController();
    const signal = AbortSignal.any([ctx.signal, left.signal]);
    return { answer: server.respond(endpoint, body, ctx.requestId, signal), cancel: () => left.abort() };
  },
});

type Env = { Bindings: { readonly ctx: Context } };

class Routes {
  readonly #surroundings: Surroundings;
  readonly #app = this.#routes();
  #models: ReadonlyMap<string, Known> = new Map();

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
  }

  serve(backends: readonly Backend[]): void {
    this.#models = new Map(
      backends.map((backend) => [
        backend.id,
        {
          ...backend,
          loaded: new LoadedModel(
            backend.id,
            () => backend.describe(),
            this.#surroundings,
            () => backend.loading(),
          ),
        },
      ]),
    );
  }

  fetch(request: Request, ctx: Context): Response | Promise<Response> {
    return this.#app.fetch(request, { ctx });
  }

  #routes(): Hono<Env> {
    const app = new Hono<Env>({ getPath });
    for (const endpoint of Object.keys(ENDPOINTS) as Endpoint[]) {
      for (const path of pathsOf(endpoint)) {
        app.post(path, (c) => this.#post(endpoint, c.req.raw, c.env.ctx));
        app.all(path, notAllowed("POST"));
      }
    }
    app.get("/v1/models", (c) => c.json({ object: "list", data: [...this.#models.values()].map(cardOf) }));
    app.get("/v1/models/:id{.+}", (c) => {
      const id = c.req.param("id");
      const model = this.#models.get(id);
      if (model !== undefined) return c.json(cardOf(model));
      throw notFound(`Unable to find ${id}. ${this.#available()}`);
    });
    app.all("/v1/models/:id{.+}?", notAllowed("GET"));
    // What a person sees who opens the address.
    app.get("/", (c) => c.text(`The OpenAI API is at /v1. ${this.#available()}\n`));
    app.notFound((c) => {
      throw new ApiError(404, `Unknown request URL: ${c.req.method} ${c.req.path}. The API's routes begin with /v1.`, {
        code: "unknown_url",
      });
    });
    app.onError((thrown, c) => {
      const error = apiError(thrown, c.env.ctx.requestId);
      if (error.status >= 500 && !(thrown instanceof ApiError)) console.error(thrown);
      return failed(error, c.req.path);
    });
    return app;
  }

  async #post(endpoint: Endpoint, request: Request, ctx: Context): Promise<Response> {
    const body = await readBody(request);
    const model = this.#modelFor(body["model"]);
    await model.loaded.ready();
    const { answer, cancel } = model.answer(endpoint, body, ctx);
    return responseOf(withErrors(answer, ctx.requestId, factsOf(endpoint), console.error), cancel);
  }

  /** As Ray Serve has it: one model need not be named. */
  #modelFor(named: unknown): Known {
    if (named !== undefined && named !== null && named !== "") {
      if (typeof named !== "string") throw invalid("model", "expected a text.");
      const model = this.#models.get(named);
      if (model !== undefined) return model;
      throw notFound(`Could not find base model with ID "${named}". ${this.#available()}`);
    }
    const [only, ...others] = this.#models.values();
    if (only !== undefined && others.length === 0) return only;
    throw new ApiError(400, `Model parameter is required when multiple models are configured. ${this.#available()}`, {
      param: "model",
      code: "missing_required_parameter",
    });
  }

  #available(): string {
    return `Available models: [${[...this.#models.keys()].map((id) => `'${id}'`).join(", ")}].`;
  }
}

/** The ingress of several models: each is a deployment of its own. */
export class OpenAI {
  readonly #served: readonly ServedModel[];
  readonly #routes: Routes;

  constructor(models: readonly ServedModel[], surroundings: Surroundings = REAL) {
    this.#served = models;
    this.#routes = new Routes(surroundings);
  }

  /** Ready at once: who asks for a model that still loads is told so. */
  init(): void {
    this.#routes.serve(this.#served.map(remote));
  }

  fetch(request: Request, ctx: Context): Response | Promise<Response> {
    return this.#routes.fetch(request, ctx);
  }
}

/** One model that is its own ingress: what it says passes one process less. */
export class OpenAIModel {
  readonly #id: string;
  readonly #server: ModelServer;
  readonly #routes: Routes;

  constructor(settings: ModelSettings, surroundings: Surroundings = REAL) {
    this.#id = settings.id;
    this.#server = new ModelServer(settings, surroundings);
    this.#routes = new Routes(surroundings);
  }

  async init(): Promise<void> {
    await this.#server.init();
    this.#routes.serve([local(this.#id, this.#server)]);
  }

  fetch(request: Request, ctx: Context): Response | Promise<Response> {
    return this.#routes.fetch(request, ctx);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
  }
}

const notFound = (message: string): ApiError => new ApiError(404, message, { param: "model", code: "model_not_found" });

/** The path is known, and the method isn't its. */
const notAllowed = (allowed: string) => (c: HonoContext<Env>) => {
  const message = `Not allowed to ${c.req.method} on ${c.req.path}: it takes ${allowed}.`;
  const answer = failed(new ApiError(405, message, { code: "method_not_allowed" }), c.req.path);
  answer.headers.set("allow", allowed);
  return answer;
};

/** Those that aren't OpenAI's are where vLLM, Jina and Cohere have them. */
function pathsOf(endpoint: Endpoint): readonly string[] {
  if (endpoint === "tokenize" || endpoint === "detokenize") return [`/${endpoint}`];
  if (endpoint === "score") return ["/v1/score", "/score"];
  return endpoint === "rerank" ? ["/v1/rerank", "/rerank", "/v2/rerank"] : [`/v1/${endpoint}`];
}

/** Behind whatever the application is mounted at. */
export const getPath = (request: Request): string => {
  const path = /^[^:]+:\/\/[^/]*([^?#]*)/.exec(request.url)?.[1] ?? "/";
  return /\/(?:v1\/.*|v2\/rerank|(?:de)?tokenize|rerank|score)$/.exec(path)?.[0] ?? path;
};

const cardOf = ({ id, loaded: { card } }: Known) => ({
  id,
  object: "model",
  created: card?.created ?? 0,
  owned_by: "skein",
  max_model_len: card?.maxLength ?? null,
  status: card === undefined ? "loading" : "loaded",
});

/** Reads at most the limit into memory. Throws 413 beyond it, 400 for what is no JSON object. */
async function readBody(request: Request): Promise<Readonly<Record<string, unknown>>> {
  const text = await readText(request, OPENAI_BODY_MAX);
  if (text === undefined)
    throw new ApiError(413, `The body has more than ${OPENAI_BODY_MAX} bytes.`, { code: "request_too_large" });
  let body: unknown;
  try {
    body = parseWithSeed(text);
  } catch (error) {
    throw new ApiError(400, `The body is not valid JSON: ${error instanceof Error ? error.message : String(error)}`, {
      code: "invalid_json",
    });
  }
  if (typeof body === "object" && body !== null && !Array.isArray(body)) return body as Record<string, unknown>;
  throw new ApiError(400, "The body must be a JSON object.", { code: "invalid_json" });
}

/** @param path that was asked for: it says in which words */
const failed = (error: ApiError, path: string): Response =>
  new Response(errorFormOf(path).body(error), {
    status: error.status,
    headers: {
      "content-type": "application/json",
      ...(error.retryAfter === undefined ? {} : { "retry-after": String(error.retryAfter) }),
    },
  });

const DONE = { done: true, value: undefined } as const;

/** A stream piece by piece as it is read; anything else whole. */
async function responseOf(answer: Answer, callOff: () => void): Promise<Response> {
  const first = await answer.next();
  // Called off before anything was said: nobody reads this.
  if (first.done === true) return new Response(null, { status: 499 });
  const { status, headers } = first.value as AnswerHead;
  if (headers["content-type"]?.startsWith("text/event-stream") !== true)
    return new Response((await Array.fromAsync(answer)).join(""), { status, headers });
  const encoder = new TextEncoder();
  const pieces: AsyncIterableIterator<Uint8Array<ArrayBuffer>, undefined> = {
    async next() {
      const { done, value } = await answer.next();
      return done === true ? DONE : { done: false, value: encoder.encode(value as string) };
    },
    // A generator's own `return()` would wait for the piece that is under way.
    async return() {
      callOff();
      return DONE;
    },
    [Symbol.asyncIterator]: () => pieces,
  };
  // Node's Response takes it, and so does ours.
  return new Response(pieces as unknown as BodyInit, { status, headers });
}
