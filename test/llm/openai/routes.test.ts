import { afterEach, describe, expect, test } from "vitest";
import type { Answer, AnswerHead } from "../../../llm/openai/answer.ts";
import { embeddings, type Embedder } from "../../../llm/openai/embeddings.ts";
import { apiError } from "../../../llm/openai/errors.ts";
import { keptAlive } from "../../../llm/openai/keep-alive.ts";
import { LoadedModel } from "../../../llm/openai/loading.ts";
import type { ModelCard } from "../../../llm/openai/model-server.ts";
import { getPath } from "../../../llm/openai/router.ts";
import { SkeinError } from "../../../protocol/errors.ts";
import { OPENAI_BODY_MAX } from "../../../protocol/limits.ts";
import { runtime } from "../../../serve/runtime.ts";
import { eventsOf, start, type Script } from "./bench.ts";

afterEach(() => void delete runtime().engine);

const hello: Script = () => ["Hel", "lo"];
const two = { models: ["one", "two"] };
const errorOf = async (answer: Response) => ({ status: answer.status, ...(await answer.json()).error });

describe("models", () => {
  test("are listed by name, one by one as well, slashes and all", async () => {
    const { get } = await start(hello, { models: ["one", "hf:owner/two"] });
    const { object, data } = await (await get("/v1/models")).json();
    expect(object).toBe("list");
    expect(data.map((card: { id: string }) => card.id)).toEqual(["one", "hf:owner/two"]);
    const card = await (await get("/v1/models/hf%3Aowner%2Ftwo")).json();
    expect(card).toEqual({
      id: "hf:owner/two",
      object: "model",
      created: expect.any(Number),
      owned_by: "skein",
      max_model_len: 2048,
      status: "loaded",
    });
    expect(await (await get("/v1/models/hf:owner/two")).json()).toEqual(card);
    for (const id of ["none", "%zz", "%25zz"])
      expect(await errorOf(await get(`/v1/models/${id}`))).toMatchObject({ status: 404, code: "model_not_found" });
  });

  test("unknown ones are not found, whole or streamed, in words that name what there is", async () => {
    const { post } = await start(hello, two);
    for (const stream of [false, true])
      for (const path of ["/v1/chat/completions", "/v1/completions"])
        expect(await errorOf(await post(path, { model: "x", stream, prompt: "", messages: [] }))).toEqual({
          status: 404,
          message: `Could not find base model with ID "x". Available models: ['one', 'two'].`,
          type: "invalid_request_error",
          param: "model",
          code: "model_not_found",
        });
  });

  test("need a name only where there are several", async () => {
    const one = await start(hello);
    expect((await one.post("/v1/completions", { prompt: "a" })).status).toBe(200);
    const several = await start(hello, two);
    expect(await errorOf(await several.post("/v1/completions", { prompt: "a" }))).toMatchObject({
      status: 400,
      param: "model",
      message: expect.stringContaining("Model parameter is required when multiple models are configured."),
    });
  });

  test("arguments: a list with commas, names and settings, and what is wrong with them", async () => {
    const listed = await start(hello, { models: "one, two" });
    expect((await (await listed.get("/v1/models")).json()).data).toHaveLength(2);
    const path = await start(hello, { models: [{ source: "/models/tiny.gguf" }] });
    expect((await (await path.get("/v1/models")).json()).data[0].id).toBe("tiny");
    const url = `https://models.example/a%2Cb/small.gguf#sha256=${"ab".repeat(32)}`;
    const urls = await start(hello, { models: `${url},one` });
    const cards = (await (await urls.get("/v1/models")).json()).data as { id: string }[];
    expect(cards.map(({ id }) => id)).toEqual(["small", "one"]);
    await expect(start(hello, { models: url.replace("%2C", ",") })).rejects.toThrow("write one inside a URL as %2C");
    await expect(start(hello, { models: [] })).rejects.toThrow(/args\.models.*Expected models=<name>/s);
    await expect(start(hello, { models: ["a", "a"] })).rejects.toThrow("'a' is listed twice");
    await expect(start(hello, { models: [{ source: "a", slot: 1 } as never] })).rejects.toThrow(/args\.models/);
  });
});

describe("requests", () => {
  test("what is no JSON object, too large, or nowhere", async () => {
    const { post, get, fetch } = await start(hello);
    expect(await errorOf(await post("/v1/chat/completions", "{"))).toMatchObject({ status: 400, code: "invalid_json" });
    expect(await errorOf(await post("/v1/chat/completions", "[]"))).toMatchObject({
      status: 400,
      code: "invalid_json",
    });
    const large = JSON.stringify({ prompt: "x".repeat(OPENAI_BODY_MAX) });
    expect(await errorOf(await post("/v1/completions", large))).toMatchObject({
      status: 413,
      code: "request_too_large",
    });
    expect(await (await get("/")).text()).toBe("The OpenAI API is at /v1. Available models: ['tiny'].\n");
    expect(await errorOf(await get("/v1/nothing"))).toMatchObject({ status: 404, code: "unknown_url" });
    for (const [path, method, allow] of [
      ["/v1/chat/completions", "GET", "POST"],
      ["/tokenize", "PUT", "POST"],
      ["/v1/models", "POST", "GET"],
      ["/v1/models/tiny", "DELETE", "GET"],
    ] as const) {
      const answer = await fetch(new Request(`http://localhost${path}`, { method }));
      expect(answer.headers.get("allow")).toBe(allow);
      expect(await errorOf(answer)).toMatchObject({ status: 405, code: "method_not_allowed" });
    }
  });

  test("paths count from /v1, wherever the application is mounted", () => {
    const path = (url: string): string => getPath({ url } as Request);
    expect(path("http://h/v1/models?x=/v1/y")).toBe("/v1/models");
    expect(path("http://h/root/llm/v1/chat/completions")).toBe("/v1/chat/completions");
    expect(path("http://h/llm/tokenize")).toBe("/tokenize");
    expect(path("http://h")).toBe("");
    expect(path("http://h/other")).toBe("/other");
  });
});

test("a full queue in front of a model is a 429 that says when to come again", () => {
  expect(apiError(new SkeinError("BACKPRESSURE", "Full."), "r")).toMatchObject({
    status: 429,
    type: "rate_limit_error",
    code: "rate_limit_exceeded",
    retryAfter: 1,
  });
});

describe("completions", () => {
  test("of several prompts, with their echoes", async () => {
    const { post, requests } = await start((_, index) => [` ${index}`]);
    const answer = await (await post("/v1/completions", { prompt: ["a", [104, 105]], n: 2, echo: true })).json();
    expect(answer).toMatchObject({ object: "text_completion", usage: { prompt_tokens: 10, completion_tokens: 4 } });
    expect(answer.choices.map((c: { text: string }) => c.text)).toEqual(["a 0", "a 1", "hi 2", "hi 3"]);
    expect(requests.map((r) => ("prompt" in r ? r.prompt : "promptTokens" in r && r.promptTokens))).toEqual([
      "a",
      "a",
      [104, 105],
      [104, 105],
    ]);
    expect(requests[0]!.maxTokens).toBe(16);
  });

  test("streamed: text, end, counts, the end mark", async () => {
    const { post } = await start(hello);
    const events = await eventsOf(
      await post("/v1/completions", { prompt: "a", stream: true, stream_options: { include_usage: true } }),
    );
    expect(events.pop()).toBe("[DONE]");
    const chunks = events.map((data) => JSON.parse(data));
    expect(chunks.map(({ choices }) => choices[0]?.text)).toEqual(["Hel", "lo", "", undefined]);
    expect(chunks.map(({ choices }) => choices[0]?.finish_reason)).toEqual([null, null, "stop", undefined]);
    expect(chunks.map(({ usage }) => usage)).toEqual([
      null,
      null,
      null,
      {
        prompt_tokens: 5,
        completion_tokens: 2,
        total_tokens: 7,
        prompt_tokens_details: { cached_tokens: 2 },
        completion_tokens_details: { reasoning_tokens: 0 },
      },
    ]);
  });

  test("what is refused", async () => {
    const { post } = await start(hello);
    for (const [fields, param] of [
      [{}, "prompt"],
      [{ prompt: 5 }, "prompt"],
      [{ prompt: "a", suffix: "z" }, "suffix"],
      [{ prompt: "a", best_of: 3 }, "best_of"],
      [{ prompt: ["a", "b"], n: 9 }, "n"],
      [{ prompt: "a", logprobs: 6 }, "logprobs"],
    ] as const)
      expect(await errorOf(await post("/v1/completions", fields))).toMatchObject({ status: 400, param });
  });
});

test("tokens of a text and of a conversation, and back", async () => {
  const { post } = await start(hello);
  expect(await (await post("/tokenize", { prompt: "hi" })).json()).toEqual({
    count: 2,
    max_model_len: 2048,
    tokens: [104, 105],
    token_strs: null,
  });
  expect((await (await post("/tokenize", { messages: [{ role: "user", content: "a" }] })).json()).tokens).toEqual([
    1, 2, 3,
  ]);
  expect(await (await post("/detokenize", { tokens: [104, 105] })).json()).toEqual({ prompt: "hi" });
  expect(await errorOf(await post("/tokenize", {}))).toMatchObject({ status: 400, param: "prompt" });
  expect(await errorOf(await post("/detokenize", { tokens: ["a"] }))).toMatchObject({ status: 400, param: "tokens" });
});

describe("embeddings", () => {
  const asked: unknown[] = [];
  const embedder: Embedder = {
    embed: async (inputs, options) => {
      asked.push({ inputs, ...options });
      return { vectors: inputs.map((_, at) => Float32Array.of(3, 4, at, 0.5)), tokens: inputs.length * 2 };
    },
  };
  interface EmbeddingBody {
    readonly data: readonly { readonly embedding: string & readonly number[] }[];
  }
  const ask = async (fields: object): Promise<{ head: AnswerHead; body: EmbeddingBody }> => {
    const [head, text] = await Array.fromAsync(embeddings(fields, "m", embedder, undefined));
    return { head: head as AnswerHead, body: JSON.parse(text as string) };
  };

  test("as numbers and as base64, one for each input, shortened on wish", async () => {
    const { body } = await ask({ input: ["a", "b"] });
    expect(body).toEqual({
      object: "list",
      model: "m",
      data: [
        { object: "embedding", index: 0, embedding: [3, 4, 0, 0.5] },
        { object: "embedding", index: 1, embedding: [3, 4, 1, 0.5] },
      ],
      usage: { prompt_tokens: 4, total_tokens: 4 },
    });
    const { data } = (await ask({ input: [1, 2], encoding_format: "base64" })).body;
    expect([...new Float32Array(new Uint8Array(Buffer.from(data[0]!.embedding, "base64")).buffer)]).toEqual([
      3, 4, 0, 0.5,
    ]);
    expect((await ask({ input: "a", dimensions: 2 })).body.data[0]!.embedding.map((v) => v.toFixed(3))).toEqual([
      "0.600",
      "0.800",
    ]);
    await expect(ask({ input: "a", dimensions: 5 })).rejects.toMatchObject({ status: 400, param: "dimensions" });
    await expect(ask({ input: "" })).rejects.toMatchObject({ status: 400, param: "input" });
  });

  test("of texts and of ids; what is too long is cut only where that is asked for", async () => {
    asked.length = 0;
    await ask({ input: [1, 2] });
    await ask({ input: [[1], "a"], truncate_prompt_tokens: -1 });
    expect(asked).toEqual([
      { inputs: [[1, 2]], truncates: false },
      { inputs: [[1], "a"], truncates: true },
    ]);
    await expect(ask({ input: "a", truncate_prompt_tokens: 5 })).rejects.toMatchObject({
      status: 400,
      param: "truncate_prompt_tokens",
    });
  });

  test("a model that answers chats says so", async () => {
    const { post } = await start(hello);
    expect(await errorOf(await post("/v1/embeddings", { input: "a" }))).toMatchObject({
      status: 501,
      code: "unsupported_model",
    });
  });
});

/** Timers that fire when they are told to. */
function clock() {
  const timers = new Set<() => void>();
  let ms = 0;
  return {
    now: () => ms,
    random: () => 0.5,
    after: (_: number, callback: () => void) => (timers.add(callback), () => void timers.delete(callback)),
    pass: (by: number) => {
      ms += by;
      const due = [...timers];
      timers.clear();
      for (const fire of due) fire();
    },
  };
}

test("a silent stream says that somebody is there; other answers have no comments", async () => {
  const time = clock();
  const held = Promise.withResolvers<void>();
  async function* slow(type: string): Answer {
    yield { status: 200, headers: { "content-type": type } };
    await held.promise;
    yield "data: x\n\n";
  }
  const stream = keptAlive(slow("text/event-stream; charset=utf-8"), 15_000, time);
  const json = keptAlive(slow("application/json"), 15_000, time);
  await Promise.all([stream.next(), json.next()]);
  const comment = stream.next();
  const body = json.next();
  await new Promise(setImmediate);
  time.pass(15_000);
  expect((await comment).value).toBe(": keep-alive\n\n");
  held.resolve();
  expect((await stream.next()).value).toBe("data: x\n\n");
  expect((await body).value).toBe("data: x\n\n");
});

describe("a model that loads", () => {
  test("is answered 503 with a time, and then served; one that can't be reached is asked again", async () => {
    const time = clock();
    const answers: PromiseWithResolvers<ModelCard>[] = [];
    const describe_ = () => {
      answers.push(Promise.withResolvers<ModelCard>());
      return answers.at(-1)!.promise;
    };
    const model = new LoadedModel("m", describe_, time);
    const early = model.ready();
    time.pass(12_000);
    await expect(early).rejects.toMatchObject({ status: 503, code: "model_loading", retryAfter: 12 });
    answers[0]!.reject(new Error("no replica"));
    await new Promise(setImmediate);
    const refused = model.ready();
    time.pass(1_000);
    await expect(refused).rejects.toMatchObject({
      code: "model_unavailable",
      message: expect.stringContaining("no replica"),
    });
    expect(answers).toHaveLength(2);
    answers[1]!.resolve({ created: 1, maxLength: 2 });
    await model.ready();
    expect(model.card).toEqual({ created: 1, maxLength: 2 });
  });

  test.each([
    [0, undefined, 1, "1 s more"],
    [3_200, undefined, 4, "4 s more"],
    [500_000, undefined, 60, "60 s more"],
    [500_000, 2.2, 3, "(fetching), and may need 3 s more"],
    [5_000, 300, 60, "(fetching), and may need 300 s more"],
  ])("after %i ms with %s s left: asking again makes sense in %i s", async (elapsed, leftS, retryAfter, words) => {
    const time = clock();
    const loading = leftS === undefined ? undefined : { doing: "fetching", leftS };
    const model = new LoadedModel(
      "m",
      () => new Promise(() => {}),
      time,
      () => loading,
    );
    const asked = model.ready();
    time.pass(elapsed);
    await expect(asked).rejects.toMatchObject({ retryAfter, message: expect.stringContaining(words) });
  });
});
