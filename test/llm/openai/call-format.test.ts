/** Answers that may hold calls, with the real compiler: whatever a model would say, the calls that are found in it fit, and other text stays free. */
import { afterAll, expect, test } from "vitest";
import { prf } from "../../../engine/prf.ts";
import { callsFormat, heldCallsFormat } from "../../../llm/openai/call-format.ts";
import { toolCallParser } from "../../../llm/openai/tool-call-parser.ts";
import type { Tool, ToolStyle } from "../../../llm/openai/tool-style.ts";
import { allowedTokens } from "../../support/allowed-tokens.ts";
import { takesWhole, tinyGrammars, TINY_TOKENIZER } from "../../support/tiny-grammars.ts";

const grammars = tinyGrammars();
afterAll(() => grammars.close());

const parameters = {
  type: "object",
  properties: { d: { type: "integer" }, u: { enum: ["C", "F"] } },
  required: ["d"],
  additionalProperties: false,
};
const TOOLS: readonly Tool[] = [
  { type: "function", function: { name: "now", strict: true } },
  { type: "function", function: { name: "go", strict: true, parameters } },
  { type: "function", function: { name: "free", parameters } },
];
const STYLES = ["hermes", "llama", "gemma"] as const;
const held = (style: ToolStyle, onlyOne = false) => heldCallsFormat(style, TOOLS, onlyOne);

const go = (key: string, values = '{"d": 7}'): string => `{"name": "go", "${key}": ${values}}`;
const [hermes, object] = [`<tool_call>\n${go("arguments")}\n</tool_call>`, go("parameters")];

test.each<[ToolStyle, readonly string[], readonly string[]]>([
  [
    "hermes",
    [
      "",
      " ",
      "{}",
      "[1]",
      'Say {"name": "go"} < 3 <tool',
      `I do: ${hermes}`,
      `${hermes}\n${hermes} and so on`,
      '<tool_call>\n{"name": "free", "arguments": {"x": [1]}}\n</tool_call>',
    ],
    [
      "<tool_call>",
      `<tool_call>${go("arguments")}`,
      `I do: <tool_call>\n${go("arguments", "{}")}\n</tool_call>`,
      `<tool_call>\n{"name": "no`,
    ],
  ],
  [
    "llama",
    [
      "",
      " \n",
      "[1]",
      '[{"name": "go"}]',
      "< 3",
      'Say {"name": "go"}',
      object,
      ` \r\n${object}`,
      `\u3000${object} so`,
      `<|python_tag|>${object}`,
      `So <|python_tag|>${object}`,
    ],
    [
      "{}",
      '{"d": 7}',
      go("parameters", '{"d": 1.5}'),
      `${object} so`,
      `<|python_tag|>${go("arguments")}`,
      "So <|python_tag|>x",
      `So <|python_tag|>${object} so`,
    ],
  ],
  [
    "gemma",
    [
      "",
      "Hi [a](b)",
      "`a`",
      "``b``",
      "```js\nx\n```",
      "```toml\n```",
      object,
      `[${object}]`,
      `\`\`\`tool_code\n${object}\n\`\`\``,
      `So \`\`\`tool_code\n${object}\n\`\`\``,
    ],
    [
      "[1]",
      "[go(d=7)]",
      "{",
      "```tool_code\ngo(d=7)\n```",
      "So ```tool_code\ngo(d=7)\n```",
      `[${object}, ${object}]`,
      "````tool_code\ngo()\n```",
    ],
  ],
])("%s: text is free, calls fit", async (style, fits, others) => {
  for (const text of fits) expect([text, await takesWhole(grammars, held(style), text)]).toEqual([text, true]);
  for (const text of others) expect([text, await takesWhole(grammars, held(style), text)]).toEqual([text, false]);
});

test("an answer ends with its only call", async () => {
  const takes = (text: string): Promise<boolean> => takesWhole(grammars, held("hermes", true), text);
  expect([await takes(`I do: ${hermes}`), await takes(`${hermes}\nso`)]).toEqual([true, false]);
});

test("a call or an answer in a form", async () => {
  const form = { type: "json_schema", json_schema: { type: "boolean" } } as const;
  for (const style of STYLES) {
    const either = { type: "or", elements: [callsFormat(style, TOOLS, false), form] } as const;
    const texts = ["true", style === "hermes" ? `${hermes}\n${hermes}` : object, "so"];
    expect(await Promise.all(texts.map((text) => takesWhole(grammars, either, text)))).toEqual([true, true, false]);
  }
});

const SIZE = TINY_TOKENIZER.vocabulary;
/** What closes strings and brackets is liked, or answers would not end. */
const closing = Array.from({ length: SIZE }, (_, token) => (/^["}\]]/.test(TINY_TOKENIZER.decode([token])) ? 3 : 0));
/** What a model might begin with; as much of it is said as may be. */
const LEADS = [
  "",
  " ",
  "So ",
  "<tool_call>",
  "So <tool_call>",
  "{",
  "\n{",
  "\u00a0{",
  "[",
  "[{",
  "<|python_tag|>",
  "a<|python_tag|>",
  "<<|python_tag|>",
  "```tool_code",
  "`````tool_code",
  "x```tool_code",
  "``x``tool_code",
];

/** An answer by chance, at most so many tokens long. */
async function answer(style: ToolStyle, lead: string, seed: number): Promise<string> {
  const mask = await grammars.mask(held(style));
  const tokens: number[] = [];
  const wanted = [
    ...TINY_TOKENIZER.encode(lead),
    ...(seed % 2 === 0 ? TINY_TOKENIZER.encode(style === "hermes" ? hermes : object) : []),
  ];
  for (let at = 0; at < 90; at++) {
    await mask.prepare();
    const allowed = allowedTokens(mask).filter((token) => token < closing.length);
    const scoreOf = (token: number): number => 6 * prf(seed * 1_000 + at, token) + closing[token]!;
    const next = wanted.shift();
    const best = allowed.reduce((top, token) => (scoreOf(token) > scoreOf(top) ? token : top));
    const token = next !== undefined && allowed.includes(next) ? next : best;
    if (TINY_TOKENIZER.isEnd(token)) break;
    mask.accept(token);
    tokens.push(token);
  }
  mask.dispose();
  return TINY_TOKENIZER.decode(tokens);
}

test.each(STYLES)("%s: whatever is said, its calls fit", async (style) => {
  let calls = 0;
  let texts = 0;
  for (let seed = 0; seed < 4 * LEADS.length; seed++) {
    const said = await answer(style, LEADS[seed % LEADS.length]!, seed);
    const parser = toolCallParser(style, new Set(TOOLS.map((tool) => tool.function.name)));
    for (const part of [...parser.push(said), ...parser.finish()]) {
      if (part.kind === "text") {
        texts++;
        continue;
      }
      calls++;
      const values = JSON.parse(part.arguments) as { d?: unknown; u?: unknown };
      if (part.name === "now") expect([said, values]).toEqual([said, {}]);
      if (part.name !== "go") continue;
      expect([said, Number.isInteger(values.d), [undefined, "C", "F"].includes(values.u as string)]).toEqual([
        said,
        true,
        true,
      ]);
      expect(Object.keys(values).filter((key) => key !== "d" && key !== "u")).toEqual([]);
    }
  }
  expect(Math.min(calls, texts)).toBeGreaterThan(8);
});
