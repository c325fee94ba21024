/**
 * What holding answers to a grammar costs with the default model's vocabulary: loading, compiling, and each step of 1 and 8 rows.
 *
 *   node setup.mjs exec bench/grammar.ts
 */
import { open } from "node:fs/promises";
import { readTokenizerMetadata } from "../engine/gguf/config.ts";
import { readGgufHeader } from "../engine/gguf/header.ts";
import type { GrammarFormat } from "../engine/grammar/format.ts";
import { Grammars } from "../engine/grammar/grammars.ts";
import { sourceOfFile } from "../engine/node/file-source.ts";
import { nodeGrammarHost } from "../engine/node/grammar-host.ts";
import { Chooser } from "../engine/chooser.ts";
import { GREEDY } from "../engine/sampling.ts";
import { Tokenizer } from "../engine/tokenizer/tokenizer.ts";
import { defaultModelPath } from "../test/support/default-model.ts";
import { seededRandom } from "../test/support/random.ts";

const file = await open(await defaultModelPath());
const tokenizer = Tokenizer.fromGguf(readTokenizerMetadata(await readGgufHeader(await sourceOfFile(file))));
await file.close();
const megabytes = (): number => process.memoryUsage().rss / 1e6;
const schema = (json_schema: object) => ({ type: "json_schema", json_schema }) as const;
const many = (count: number, property: object) =>
  schema({
    type: "object",
    properties: Object.fromEntries(Array.from({ length: count }, (_, at) => [`field${at}`, property])),
  });
const FORMATS = {
  "two properties": schema({
    type: "object",
    properties: { name: { type: "string" }, age: { type: "integer", minimum: 0, maximum: 150 } },
    required: ["name", "age"],
  }),
  "any JSON object": schema({ type: "object" }),
  "100 optional texts": many(100, { type: "string" }),
  "maxLength 16": schema({ type: "string", maxLength: 16 }),
  "maxLength 64": schema({ type: "string", maxLength: 64 }),
  "pattern [a-z]{1,64}": { type: "regex", pattern: "[a-z]{1,64}" },
  email: schema({ type: "string", format: "email" }),
} as const;

const before = megabytes();
const ready: [string, GrammarFormat][] = [];
const grammars = new Grammars(nodeGrammarHost, tokenizer, tokenizer.vocabulary);
for (const [name, format] of Object.entries(FORMATS)) {
  const began = performance.now();
  const outcome = await grammars.mask(format).then(
    (mask) => {
      mask.dispose();
      ready.push([name, format]);
      return "ready";
    },
    (error: Error) => error.message,
  );
  console.log(`${name}: ${outcome} after ${(performance.now() - began).toFixed(0)} ms`);
}
grammars.close();
await new Promise((resolve) => setTimeout(resolve, 200));
console.log(`memory: +${(megabytes() - before).toFixed(0)} MB`);

const random = seededRandom(1);
const logits = Array.from({ length: 16 }, () =>
  Float32Array.from({ length: tokenizer.vocabulary }, () => 10 * random()),
);
const chooser = new Chooser(tokenizer.vocabulary);
const NONE = { seen: new Set<number>(), counts: new Map<number, number>() };
const STEPS = 200;
for (const rows of [1, 8]) {
  for (const [name, format] of ready) {
    const masks = await Promise.all(Array.from({ length: rows }, () => grammars.mask(format)));
    const spent = { prepare: 0, choose: 0, accept: 0 };
    let steps = 0;
    for (; steps < STEPS && !masks.some(({ mustEnd }) => mustEnd); steps++) {
      const times = [performance.now()];
      for (const mask of masks) await mask.prepare();
      times.push(performance.now());
      const draw = { sampling: GREEDY, history: NONE, uniform: 0, barred: [] };
      const chosen = masks.map(
        ({ allowed }, row) => chooser.choose(logits[(steps + row) % logits.length]!, { ...draw, allowed }).token,
      );
      times.push(performance.now());
      if (chosen.some((token) => tokenizer.isEnd(token))) break;
      masks.forEach((mask, row) => mask.accept(chosen[row]!));
      times.push(performance.now());
      (["prepare", "choose", "accept"] as const).forEach((part, at) => (spent[part] += times[at + 1]! - times[at]!));
    }
    for (const mask of masks) mask.dispose();
    const each = Object.entries(spent).map(([part, ms]) => `${part} ${(ms / steps).toFixed(2)}`);
    console.log(`${rows} rows, ${name}, ${steps} steps: ${each.join(", ")} ms a step`);
  }
}
