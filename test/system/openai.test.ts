/** The OpenAI API in front of real models, through ingress, router and replicas: a tiny random one and the default one. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { defaultModelPath } from "../support/default-model.ts";
import { makeTinyGguf } from "../support/tiny-gguf.ts";
import { slowHub } from "../support/slow-hub.ts";
import { eventually, SystemMesh } from "./mesh.ts";

/** Its prompt says that there is nothing to think about, where it is told so. */
const THINKS = `{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}`;

describe("the OpenAI API", () => {
  let mesh: SystemMesh;
  let folder = "";
  let hub: Awaited<ReturnType<typeof slowHub>>;
  let applications: object[] = [];
  beforeAll(async () => {
    hub = await slowHub(Buffer.from(makeTinyGguf({ seed: 2 }).bytes));
    folder = mkdtempSync(join(tmpdir(), "skein-openai-"));
    writeFileSync(join(folder, "tiny.gguf"), makeTinyGguf().bytes);
    mkdirSync(join(folder, "thinks"));
    writeFileSync(join(folder, "thinks", "tiny.gguf"), makeTinyGguf({ chatTemplate: THINKS }).bytes);
    const env = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: join(folder, "cache"), HF_HUB_OFFLINE: "" };
    mesh = await SystemMesh.start({ appDir: folder, agent: () => ({ device: "native", env }) });
    applications = [
      {
        name: "openai",
        import_path: "skein/llm:openai",
        route_prefix: "/llm",
        args: {
          models: [
            { source: join(folder, "tiny.gguf"), slot_length: 400, num_gpus: 0, num_cpus: 1 },
            { source: await defaultModelPath(), id: "smollm2-135m-instruct", num_gpus: 0, num_cpus: 1 },
          ],
        },
      },
      {
        name: "one",
        import_path: "skein/llm:openai",
        route_prefix: "/one",
        args: {
          models: [{ source: join(folder, "thinks", "tiny.gguf"), slot_length: 400, num_gpus: 0, num_cpus: 0.5 }],
        },
      },
    ];
    await mesh.deploy(applications);
  });
  afterAll(async () => {
    await mesh?.stop();
    await hub?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const post = (path: string, body: object) =>
    mesh.fetch(`/llm/v1/${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer anything" },
      body: JSON.stringify(body),
    });

  it("lists its models, and answers with the real one", async () => {
    const { data } = JSON.parse((await mesh.fetch("/llm/v1/models")).text);
    expect(data.map(({ id }: { id: string }) => id)).toEqual(["tiny", "smollm2-135m-instruct"]);
    const answer = await post("chat/completions", {
      model: "smollm2-135m-instruct",
      messages: [{ role: "user", content: "What is the capital of France? Answer in one short sentence." }],
      temperature: 0,
      max_completion_tokens: 24,
    });
    expect(answer.status).toBe(200);
    expect(answer.headers["x-request-id"]).toBeDefined();
    const { choices, usage, model } = JSON.parse(answer.text);
    expect(choices[0].message.content).toContain("Paris");
    expect(model).toBe("smollm2-135m-instruct");
    expect(usage.total_tokens).toBe(usage.prompt_tokens + usage.completion_tokens);
  });

  it("streams the same tokens that it answers at once, seeded", async () => {
    const ask = { model: "tiny", messages: [{ role: "user", content: "Once" }], seed: 5, max_tokens: 20 };
    const whole = JSON.parse((await post("chat/completions", ask)).text);
    const answer = await post("chat/completions", { ...ask, stream: true, stream_options: { include_usage: true } });
    expect(answer.headers).toMatchObject({
      "content-type": "text/event-stream; charset=utf-8",
      "x-accel-buffering": "no",
    });
    const events = answer.text
      .trimEnd()
      .split("\n\n")
      .map((line) => line.slice("data: ".length));
    expect(events.pop()).toBe("[DONE]");
    const chunks = events.map((data) => JSON.parse(data));
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).toBe(
      whole.choices[0].message.content,
    );
    // The prompt may be in the prefix cache now.
    const { prompt_tokens_details: _, ...counts } = whole.usage;
    expect(chunks.at(-1).usage).toMatchObject(counts);
    expect(whole.usage.completion_tokens).toBe(20);
  });

  it("one model without a router says the same", async () => {
    const body = JSON.stringify({ prompt: "The river", seed: 3, max_tokens: 8, stream: true });
    const ask = (path: string, model: object) =>
      mesh.fetch(path, { method: "POST", body: JSON.stringify({ ...JSON.parse(body), ...model }) });
    const [alone, routed] = await Promise.all([
      ask("/one/v1/completions", {}),
      ask("/llm/v1/completions", { model: "tiny" }),
    ]);
    const texts = ({ text }: { text: string }): string[] =>
      [...text.matchAll(/"text":"(.*?)","logprobs"/g)].map((m) => m[1]!);
    expect(texts(alone)).toEqual(texts(routed));
    expect(texts(alone).join("").length).toBeGreaterThan(8);
    expect((await mesh.status()).applications["one"]?.deployments).toHaveProperty("tiny");
  });

  it("reports logprobs, and does what bias and penalties say", async () => {
    const ask = { model: "tiny", messages: [{ role: "user", content: "Once" }], temperature: 0, max_tokens: 6 };
    const { choices } = JSON.parse((await post("chat/completions", { ...ask, logprobs: true, top_logprobs: 3 })).text);
    const { content } = choices[0].logprobs;
    expect(content.map(({ token }: { token: string }) => token).join("")).toBe(choices[0].message.content);
    expect(content).toHaveLength(6);
    expect(content[0].top_logprobs[0].logprob).toBe(content[0].logprob);
    const first = JSON.parse(
      (
        await mesh.fetch("/llm/tokenize", {
          method: "POST",
          body: JSON.stringify({ model: "tiny", prompt: content[0].token }),
        })
      ).text,
    ).tokens[0];
    const biased = await post("chat/completions", { ...ask, logit_bias: { [first]: -100 } });
    expect(JSON.parse(biased.text).choices[0].message.content).not.toBe(choices[0].message.content);
    const again = JSON.parse((await post("chat/completions", ask)).text);
    expect(again.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(0);
  });

  it("answers by a schema and calls the function it is told to, and refuses a schema that can't be enforced", async () => {
    const model = "smollm2-135m-instruct";
    const messages = [{ role: "user", content: "Ann is 30 years old and lives in Rome. Say it as JSON." }];
    const schema = {
      type: "object",
      // Of bounded length: a small model may go on in a text until its tokens are used up.
      properties: {
        name: { type: "string", pattern: "^[A-Z][a-z]{1,9}$" },
        age: { type: "integer", minimum: 0, maximum: 150 },
      },
      required: ["name", "age"],
      additionalProperties: false,
    };
    const format = (given: object) => ({
      type: "json_schema",
      json_schema: { name: "person", strict: true, schema: given },
    });
    const ask = { model, messages, temperature: 0, max_tokens: 80 };
    const tools = [{ type: "function", function: { name: "save", description: "Saves a person", parameters: schema } }];
    const [json, call, refused, plain] = await Promise.all([
      post("chat/completions", { ...ask, response_format: format(schema) }),
      post("chat/completions", { ...ask, tools, tool_choice: "required", parallel_tool_calls: false }),
      post("chat/completions", { ...ask, stream: true, response_format: format({ ...schema, not: {} }) }),
      post("chat/completions", { ...ask, max_tokens: 8 }),
    ]);
    const person = { name: expect.stringContaining("Ann"), age: 30 };
    const [choice] = JSON.parse(json.text).choices;
    expect([JSON.parse(choice.message.content), choice.finish_reason]).toEqual([person, "stop"]);
    const called = JSON.parse(call.text).choices[0];
    expect(called).toMatchObject({
      finish_reason: "tool_calls",
      message: { tool_calls: [{ function: { name: "save" } }] },
    });
    expect(JSON.parse(called.message.tool_calls[0].function.arguments)).toEqual({
      name: expect.stringMatching(/^[A-Z][a-z]{1,9}$/),
      age: expect.toSatisfy((age) => Number.isInteger(age) && age >= 0 && age <= 150),
    });
    expect([refused.status, JSON.parse(refused.text).error.param]).toEqual([400, "response_format"]);
    expect(plain.status).toBe(200);
  });

  it("scores prompts as lm-eval asks: each token's logprob is what one that is drawn there is told", async () => {
    const ids: number[] = JSON.parse(
      (await mesh.fetch("/llm/tokenize", { method: "POST", body: '{"model":"tiny","prompt":"The river and a stone"}' }))
        .text,
    ).tokens;
    const ask = { model: "tiny", temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234 };
    const { choices } = JSON.parse((await post("completions", { ...ask, prompt: [ids, ids], echo: true })).text);
    expect(choices[1].logprobs).toEqual(choices[0].logprobs);
    const { tokens, token_logprobs: logprobs } = choices[0].logprobs;
    expect([tokens.join(""), logprobs.length, logprobs[0]]).toEqual([choices[0].text, ids.length + 1, null]);
    for (const [at, id] of ids.entries()) {
      if (at === 0) continue;
      // A bias leaves the model's own logprob as it is.
      const forced = await post("completions", { ...ask, prompt: ids.slice(0, at), logit_bias: { [id]: 100 } });
      const told = JSON.parse(forced.text).choices[0].logprobs;
      expect(told.tokens[0]).toBe(tokens[at]);
      expect(told.token_logprobs[0]).toBeCloseTo(logprobs[at], 1);
    }
  });

  it("says the same to Anthropic's clients, whole and streamed", async () => {
    const messages = [{ role: "user", content: "Once" }];
    const ask = { model: "tiny", messages, temperature: 0, max_tokens: 8 };
    const [chat, whole, stream, counted, none] = await Promise.all([
      post("chat/completions", ask),
      post("messages", ask),
      post("messages", { ...ask, stream: true }),
      post("messages/count_tokens", { model: "tiny", messages }),
      post("messages", { ...ask, model: "none" }),
    ]);
    const text = JSON.parse(chat.text).choices[0].message.content;
    const { content, usage, stop_reason } = JSON.parse(whole.text);
    expect([content, stop_reason]).toEqual([[{ type: "text", text }], "max_tokens"]);
    const counts = JSON.parse(chat.text).usage.prompt_tokens;
    expect(usage.input_tokens + usage.cache_read_input_tokens).toBe(counts);
    expect(JSON.parse(counted.text)).toEqual({ input_tokens: counts });
    const deltas = [...stream.text.matchAll(/"text_delta","text":("(?:[^"\\]|\\.)*")/g)];
    expect(deltas.map(([, json]) => JSON.parse(json!)).join("")).toBe(text);
    expect(stream.text).toMatch(/event: message_stop\ndata: {"type":"message_stop"}\n\n$/);
    expect([none.status, JSON.parse(none.text).error.type]).toEqual([404, "not_found_error"]);
  });

  it("continues texts and token ids alike, and says what they are", async () => {
    const ids = JSON.parse(
      (await mesh.fetch("/llm/tokenize", { method: "POST", body: '{"model":"tiny","prompt":"The river"}' })).text,
    );
    const ask = { model: "tiny", temperature: 0, max_tokens: 8 };
    const [text, tokens] = await Promise.all([
      post("completions", { ...ask, prompt: "The river" }),
      post("completions", { ...ask, prompt: ids.tokens }),
    ]);
    expect(JSON.parse(tokens.text).choices).toEqual(JSON.parse(text.text).choices);
    expect(ids).toMatchObject({ max_model_len: 400, count: ids.tokens.length });
  });

  it("a prompt that doesn't fit, and a model that isn't there, are told before a stream begins", async () => {
    const long = { model: "tiny", stream: true, messages: [{ role: "user", content: "river ".repeat(500) }] };
    const [answer, none] = await Promise.all([
      post("chat/completions", long),
      post("chat/completions", { ...long, model: "gpt-9" }),
    ]);
    expect([answer.status, JSON.parse(answer.text).error.code]).toEqual([400, "context_length_exceeded"]);
    expect([none.status, JSON.parse(none.text).error.message]).toEqual([
      404,
      expect.stringContaining("Could not find"),
    ]);
  });

  it("a model that thinks: its thought apart from its answer, and none where the template is told so", async () => {
    const ask = (path: string, more: object) =>
      mesh
        .fetch(`/one/${path}`, {
          method: "POST",
          body: JSON.stringify({ messages: [{ role: "user", content: "Why?" }], ...more }),
        })
        .then(({ text }) => JSON.parse(text));
    const off = { chat_template_kwargs: { enable_thinking: false } };
    const [on, told, known] = await Promise.all([
      // A random model thinks what it is made to.
      ask("v1/chat/completions", { structured_outputs: { regex: "<think>\\n[a-z]{3}\\n</think>\\n\\n[A-Z]{3}" } }),
      ask("v1/chat/completions", { ...off, max_tokens: 2 }),
      ask("tokenize", off),
    ]);
    expect(on.choices[0].message).toMatchObject({
      content: expect.stringMatching(/^[A-Z]{3}$/),
      reasoning_content: expect.stringMatching(/^[a-z]{3}$/),
    });
    expect(told.usage.prompt_tokens).toBe(known.count);
    expect(known.count).toBeGreaterThan(on.usage.prompt_tokens);
  });

  it("engines of a mesh are on /metrics; answers say which weights they are of", async () => {
    const series = (): Promise<string> => mesh.api("GET", "/metrics").then(({ text }) => text);
    // Of the tests before: workers report every few seconds.
    await eventually(
      async () => /^skein_generation_tokens_total\{[^}]*smollm2-135m-instruct[^}]*\} [1-9]/m.test(await series()),
      "the engine's tokens are counted",
    );
    for (const name of ["num_requests_running", "kv_cache_usage_perc", "time_to_first_token_seconds_count"])
      expect(await series()).toMatch(new RegExp(`^skein_${name}\\{`, "m"));
    const prints = await Promise.all(
      ["tiny", "smollm2-135m-instruct"].map(async (model) => {
        const { text } = await post("completions", { model, prompt: "a", max_tokens: 1 });
        return JSON.parse(text).system_fingerprint as string;
      }),
    );
    for (const print of prints) expect(print).toMatch(/^fp_skein_native_[0-9a-f]{12}$/);
    expect(prints[0]).not.toBe(prints[1]);
  });

  it("a model that is being fetched is a 503 with how far it is and when to come again; one that isn't there says so", async () => {
    const settings = { num_gpus: 0, num_cpus: 0.5, slot_length: 128 };
    const models = [
      { ...settings, source: "hf:someone/tiny", id: "slow" },
      { ...settings, source: join(folder, "none.gguf"), id: "gone" },
    ];
    const loading = {
      name: "loading",
      import_path: "skein/llm:openai",
      route_prefix: "/loading",
      args: { models },
      deployments: [{ name: "gone", max_constructor_retry_count: 1 }],
    };
    const deployed = await mesh.api("PUT", "/api/serve/applications/", {
      http_options: { port: 0 },
      grpc_options: { port: 0 },
      applications: [...applications, loading],
    });
    expect(deployed.status).toBe(200);
    const ask = (model: string) =>
      mesh.fetch("/loading/v1/completions", {
        method: "POST",
        body: JSON.stringify({ model, prompt: "a", max_tokens: 1 }),
      });
    const told = async (model: string, words: RegExp) => {
      let answer = await ask(model);
      await eventually(async () => words.test((answer = await ask(model)).text), `${model}: ${words}`);
      const { code, message } = JSON.parse(answer.text).error as { code: string; message: string };
      return { status: answer.status, code, message, retryAfter: answer.headers["retry-after"] };
    };
    const slow = await told("slow", / of \d+\.\d MB, .*may need \d+ s more\./);
    const left = Number(/may need (\d+) s more/.exec(slow.message)![1]);
    expect(slow).toMatchObject({ status: 503, code: "model_loading", retryAfter: String(Math.min(60, left)) });
    const gone = await told("gone", /not available/);
    expect(gone).toMatchObject({ status: 503, code: "model_unavailable", retryAfter: expect.stringMatching(/^\d+$/) });
    hub.release();
    await eventually(async () => (await ask("slow")).status === 200, "the model answers");
  });

  it("a wrong API key is told in OpenAI's words, by the ingress itself", async () => {
    const { text } = await mesh.api("POST", "/api/skein/api-keys", { app: "one", name: "test" });
    const ask = (key: string) => mesh.fetch("/one/v1/models", { headers: { authorization: `Bearer ${key}` } });
    await eventually(async () => (await ask("wrong")).status === 401, "the ingress knows of the key");
    const { error } = JSON.parse((await ask("wrong")).text);
    expect(error).toMatchObject({ type: "invalid_request_error", code: "invalid_api_key" });
    expect((await ask(JSON.parse(text).key)).status).toBe(200);
  });

  it("stops the engine when the client leaves a stream", async () => {
    const url = new URL("/llm/v1/chat/completions", await mesh.clientUrl());
    const { deployments } = (await mesh.status()).applications["openai"]!;
    const pid = deployments["smollm2-135m-instruct"]?.replicas[0]?.pid ?? 0;
    const used = (): number => mesh.cpuSeconds(pid);
    const before = used();
    await new Promise<void>((resolve, reject) => {
      const outgoing = request(url, { method: "POST" }, (incoming) => {
        let events = 0;
        incoming.on("data", (piece: Buffer) => {
          events += piece.toString().split("\n\n").length - 1;
          if (events < 10) return;
          incoming.destroy();
          resolve();
        });
      });
      outgoing.on("error", reject);
      // Greedy, it would go on until its context of 2,048 tokens is full: for a minute or more.
      outgoing.end(
        JSON.stringify({
          model: "smollm2-135m-instruct",
          stream: true,
          temperature: 0,
          messages: [{ role: "user", content: "Write a very long story about the sea." }],
        }),
      );
    });
    expect(used()).toBeGreaterThan(before);
    await eventually(
      async () => {
        const start = used();
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        return used() - start < 0.15;
      },
      "the replica computes nothing any more",
      20_000,
    );
  });
});
