/** The OpenAI application in this process, in front of models that say what they are told to. */
import type { GenerateRequest, PromptInput } from "../../../engine/index.ts";
import { openai, type OpenAIArgs } from "../../../llm/index.ts";
import type { EngineHost, EngineModel, EngineOutput } from "../../../llm/host.ts";
import { localTesting } from "../../../serve/local.ts";
import { runtime } from "../../../serve/runtime.ts";

/** What a model says to a request: pieces, one token each; "…" waits until it is called off; one of the request's `stop` ends it. An Error refuses. */
export type Script = (request: GenerateRequest, index: number) => readonly string[] | Error;

export interface Bench {
  readonly requests: GenerateRequest[];
  /** Inputs that were to be tokenised. */
  readonly tokenized: PromptInput[];
  /** Generations that were called off. */
  cancelled: number;
  fetch(request: Request): Promise<Response>;
  post(path: string, body: unknown): Promise<Response>;
  get(path: string): Promise<Response>;
}

export const PROMPT_TOKENS = 5;
export const CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}";

/** Starts it; `template` decides how tools are called. */
export async function start(
  script: Script,
  {
    models = "tiny",
    template = CHATML,
    prompt = "\u0001\u0002\u0003\u0004\u0005",
    router = false,
  }: Partial<OpenAIArgs> & {
    template?: string;
    /** What every prompt becomes, a token a character. */ prompt?: string;
  } = {},
): Promise<Bench> {
  const requests: GenerateRequest[] = [];
  const tokenized: PromptInput[] = [];
  const promptTokens = [...prompt].map((character) => character.codePointAt(0)!);
  const bench: { cancelled: number } = { cancelled: 0 };
  const host: EngineHost = {
    load: async (request) =>
      ({
        provider: "fake",
        slots: 4,
        slotLength: request.slotLength,
        chatTemplate: template,
        tokenize: async (input) => {
          tokenized.push(input);
          return "prompt" in input ? [...input.prompt].map((c) => c.codePointAt(0)!) : [1, 2, 3];
        },
        detokenize: async (tokens) => String.fromCodePoint(...tokens),
        stats: async () => undefined,
        close: async () => {},
        generate: (asked) => {
          requests.push(asked);
          return says(script(asked, requests.length - 1), asked, promptTokens, () => bench.cancelled++);
        },
      }) satisfies EngineModel,
  };
  runtime().engine = host;
  const app = await localTesting(await openai({ models, router }));
  const ingress = app as unknown as { fetch(request: Request): PromiseLike<Response> };
  return Object.assign(bench, {
    requests,
    tokenized,
    fetch: async (request: Request) => ingress.fetch(request),
    post: async (path: string, body: unknown) =>
      ingress.fetch(
        new Request(`http://localhost${path}`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: typeof body === "string" ? body : JSON.stringify(body),
        }),
      ),
    get: async (path: string) => ingress.fetch(new Request(`http://localhost${path}`)),
  });
}

function says(
  pieces: readonly string[] | Error,
  request: GenerateRequest,
  prompt: readonly number[],
  onCancel: () => void,
): EngineOutput {
  const end = Promise.withResolvers<Awaited<EngineOutput["end"]>>();
  const stopped = Promise.withResolvers<void>();
  let said = 0;
  let isOver = false;
  const finish = (finishReason: "stop" | "length" | "cancelled", stoppedBy?: string): void => {
    isOver = true;
    const counts = { promptTokens: PROMPT_TOKENS, cachedTokens: 2, completionTokens: said };
    end.resolve({ ...counts, finishReason, ...(stoppedBy === undefined ? {} : { stoppedBy }) });
  };
  const cancel = (): void => {
    if (isOver) return;
    onCancel();
    finish("cancelled");
    stopped.resolve();
  };
  request.signal?.addEventListener("abort", cancel);
  const promptTokens = pieces instanceof Error ? Promise.reject(pieces) : Promise.resolve(prompt);
  promptTokens.catch(() => {});
  return {
    end: end.promise,
    promptTokens,
    cancel,
    async *[Symbol.asyncIterator]() {
      for (const text of pieces as readonly string[]) {
        if (text === "…") await stopped.promise;
        if (text === "†") throw new Error("the model broke");
        if (isOver) return;
        if (request.stop?.includes(text)) return finish("stop", text);
        said++;
        yield {
          text,
          tokens: [said],
          ...(request.logprobs === undefined ? {} : { logprobs: [score(text, request.logprobs)] }),
          ...(said === 1 && request.promptLogprobs !== undefined
            ? { promptLogprobs: scoresOf(prompt, request.promptLogprobs) }
            : {}),
        };
        if (said === request.maxTokens) return finish("length");
      }
      finish("stop");
    },
  };
}

/** Of a prompt's tokens but the first: "best" was likelier each time. */
const scoresOf = (prompt: readonly number[], top: number) =>
  prompt.slice(1).map((token) => {
    const text = String.fromCodePoint(token);
    const own = { token, text, bytes: new TextEncoder().encode(text), logprob: -3 };
    const best = { token: 7, text: "best", bytes: new Uint8Array(0), logprob: -0.5 };
    return { ...own, rank: 9, top: [best].slice(0, top) };
  });

/** As sure of a token as it can be, with `top` others. */
function score(text: string, top: number) {
  const one = (said: string, logprob: number) => ({
    token: 1,
    text: said,
    bytes: new TextEncoder().encode(said),
    logprob,
  });
  return { ...one(text, -0.5), top: [one(text, -0.5), one("other", -Infinity)].slice(0, top) };
}

/** A stream's events: data of each, and comments. */
export async function eventsOf(response: Response): Promise<string[]> {
  return (await response.text())
    .split("\n\n")
    .filter((block) => block !== "")
    .map((block) => block.replace(/^data: /, ""));
}
