import { afterEach, describe, expect, test } from "vitest";
import { runtime } from "../../../serve/runtime.ts";
import { start } from "./bench.ts";

afterEach(() => void delete runtime().engine);

const ENDPOINTS = {
  "/v1/chat/completions": { messages: [{ role: "user", content: "Hi" }] },
  "/v1/completions": { prompt: "Hi" },
  "/v1/responses": { input: "Hi" },
};
/** Values that no such field may hold. */
const WRONG: Readonly<Record<string, readonly unknown[]>> = {
  temperature: ["1", {}, [1]],
  top_p: ["1", 2],
  top_k: ["1", 1.5],
  min_p: [true],
  repetition_penalty: ["x", 0],
  presence_penalty: ["1", 3],
  frequency_penalty: [{}, -3],
  seed: ["1", 1.5],
  stop: [{ length: 3 }, [{ length: 3 }], [5], [""]],
  min_tokens: ["1", -1],
  logit_bias: [[1], { "5": "10" }, { five: 1 }],
  user: [{ length: 3 }, "x".repeat(257)],
  cache_salt: [5, ["salt"]],
  stream: ["yes"],
};

describe.each(Object.entries(ENDPOINTS))("%s", (path, fine) => {
  test.each(Object.entries(WRONG))("a wrong %s is named, and reaches no engine", async (field, values) => {
    const { post, requests } = await start(() => ["ok"]);
    for (const value of values) {
      const answer = await post(path, { ...fine, [field]: value });
      const { param } = (await answer.json()).error;
      expect([answer.status, param.split(/[.[]/)[0]], JSON.stringify(value)).toEqual([400, field]);
    }
    expect(requests).toEqual([]);
  });
});
