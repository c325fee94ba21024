import { afterEach, expect, test } from "vitest";
import type { Embedder } from "../../../llm/openai/embeddings.ts";
import { rerank, score } from "../../../llm/openai/relevance.ts";
import { getPath } from "../../../llm/openai/router.ts";
import { runtime } from "../../../serve/runtime.ts";
import { start } from "./bench.ts";

afterEach(() => void delete runtime().engine);

const asked: object[] = [];
/** A text is the direction that its numbers say, of any length. */
const embedder: Embedder = {
  embed: async (inputs, options) => {
    asked.push({ inputs, truncates: options?.truncates });
    return { vectors: inputs.map((text) => Float32Array.from((text as string).split(" "), Number)), tokens: 7 };
  },
};
const surroundings = { now: () => 5_000, random: () => 0, after: () => () => {} };
const served = { model: "m", embedder, signal: undefined, surroundings };
const ask = async (of: typeof rerank, body: object) => {
  const [head, text] = await Array.fromAsync(of(body, served));
  expect(head).toMatchObject({ status: 200 });
  return JSON.parse(text as string);
};
const ID = "0".repeat(24);

test("documents come by their nearness to the query, whatever the lengths of vectors are", async () => {
  asked.length = 0;
  const documents = ["0 1", { text: "1 1", title: "t" }, "9 0", "-2 0", "0 0"];
  const answer = await ask(rerank, { query: "2 0", documents, truncate_prompt_tokens: -1 });
  expect(answer).toMatchObject({ id: `rerank-${ID}`, model: "m", usage: { prompt_tokens: 7, total_tokens: 7 } });
  expect(answer.results).toEqual([
    { index: 2, document: { text: "9 0" }, relevance_score: 1 },
    { index: 1, document: { text: "1 1" }, relevance_score: expect.closeTo(Math.SQRT1_2, 6) },
    { index: 0, document: { text: "0 1" }, relevance_score: 0 },
    { index: 4, document: { text: "0 0" }, relevance_score: 0 },
    { index: 3, document: { text: "-2 0" }, relevance_score: -1 },
  ]);
  expect(asked).toEqual([{ inputs: ["2 0", "0 1", "1 1", "9 0", "-2 0", "0 0"], truncates: true }]);
  const best = await ask(rerank, { query: "2 0", documents, top_n: 1, return_documents: false });
  expect(best.results).toEqual([{ index: 2, relevance_score: 1 }]);
  expect((await ask(rerank, { query: "2 0", documents, top_n: 0 })).results).toHaveLength(5);
});

test("pairs are scored: one text with several, or each with the one in its place", async () => {
  const scores = async (text_1: unknown, text_2: unknown): Promise<number[]> => {
    const { data, ...rest } = await ask(score, { text_1, text_2 });
    expect(rest).toMatchObject({
      id: `score-${ID}`,
      object: "list",
      created: 5,
      model: "m",
      usage: { prompt_tokens: 7 },
    });
    expect(data).toMatchObject(data.map((_: object, index: number) => ({ index, object: "score" })));
    return data.map((each: { score: number }) => each.score);
  };
  expect(await scores("1 0", "0 1")).toEqual([0]);
  expect(await scores("1 0", ["0 1", "3 0"])).toEqual([0, 1]);
  expect(await scores(["1 0", "0 1"], ["1 0", "0 -1"])).toEqual([1, -1]);
});

test.each([
  [rerank, { query: "", documents: ["1"] }, "query"],
  [rerank, { query: "1", documents: [] }, "documents"],
  [rerank, { query: "1", documents: ["1", {}] }, "documents[1]"],
  [rerank, { query: "1", documents: ["1"], top_n: -1 }, "top_n"],
  [rerank, { query: "1", documents: ["1"], max_tokens_per_doc: 5 }, "max_tokens_per_doc"],
  [score, { text_1: ["1", "2"], text_2: ["1", "2", "3"] }, "text_1"],
  [score, { text_1: "1", text_2: "1", truncate_prompt_tokens: 5 }, "truncate_prompt_tokens"],
  [score, { text_1: "1", text_2: new Array<string>(2_048).fill("1") }, "text_2"],
] as const)("what is wrong is named (%#)", async (of, body, param) => {
  await expect(ask(of, body)).rejects.toMatchObject({ status: 400, param });
});

test("every known path leads there, behind whatever the application is mounted at; a model that answers chats says so", async () => {
  const { post, get } = await start(() => ["ok"]);
  for (const [path, body] of [
    ["/v1/rerank", { query: "1", documents: ["1"] }],
    ["/rerank", { query: "1", documents: ["1"] }],
    ["/v2/rerank", { query: "1", documents: ["1"] }],
    ["/v1/score", { text_1: "1", text_2: "1" }],
    ["/score", { text_1: "1", text_2: "1" }],
  ] as const) {
    const answer = await post(path, body);
    expect([answer.status, (await answer.json()).error.code]).toEqual([501, "unsupported_model"]);
    expect((await get(path)).status).toBe(405);
    expect(getPath({ url: `http://h/root/llm${path}?x` } as Request)).toBe(path);
  }
});
