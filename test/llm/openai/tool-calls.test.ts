import { describe, expect, test } from "vitest";
import fc from "../../support/fast-check.ts";
import { readPythonCalls } from "../../../llm/openai/python-calls.ts";
import { type Part, toolCallParser } from "../../../llm/openai/tool-call-parser.ts";
import type { ToolStyle } from "../../../llm/openai/tool-style.ts";

const NAMES = new Set(["weather", "now"]);

/** Parts of an answer that came in these pieces, neighbouring texts joined. */
function parse(style: ToolStyle, pieces: readonly string[]): Part[] {
  const parser = toolCallParser(style, NAMES);
  const parts: Part[] = [];
  for (const part of [...pieces.flatMap((piece) => parser.push(piece)), ...parser.finish()]) {
    const last = parts.at(-1);
    if (part.kind === "text" && last?.kind === "text")
      parts[parts.length - 1] = { ...last, text: last.text + part.text };
    else parts.push(part);
  }
  return parts;
}
const text = (value: string): Part => ({ kind: "text", text: value });
const call = (name: string, values: object): Part => ({ kind: "call", name, arguments: JSON.stringify(values) });

const ONE = '{"name": "weather", "arguments": {"city": "Paris"}}';
const CASES: readonly (readonly [ToolStyle, string, readonly Part[]])[] = [
  ["hermes", "Just text with a < sign.", [text("Just text with a < sign.")]],
  ["hermes", `<tool_call>\n${ONE}\n</tool_call>`, [call("weather", { city: "Paris" })]],
  [
    "hermes",
    `I'll look.\n<tool_call>${ONE}</tool_call>\n<tool_call>{"name":"now"}</tool_call>\n`,
    [text("I'll look."), call("weather", { city: "Paris" }), call("now", {})],
  ],
  ["hermes", `<tool_call>[${ONE},{"name":"now"}]</tool_call>`, [call("weather", { city: "Paris" }), call("now", {})]],
  // The end mark inside of a string, the end missing, and what is no call.
  [
    "hermes",
    '<tool_call>{"name":"now","arguments":{"a":"</tool_call>"}}</tool_call>',
    [call("now", { a: "</tool_call>" })],
  ],
  ["hermes", `<tool_call>\n${ONE}`, [call("weather", { city: "Paris" })]],
  ["hermes", "so  <tool_call>{oops}</tool_call> and", [text("so  <tool_call>{oops}</tool_call> and")]],
  ["hermes", "<tool_call>", [text("<tool_call>")]],
  ["llama", '{"name": "weather", "parameters": {"city": "Paris"}}', [call("weather", { city: "Paris" })]],
  [
    "llama",
    '<|python_tag|>{"name": "weather", "parameters": {"city": "a}b"}}; {"name":"now","parameters":{}}',
    [call("weather", { city: "a}b" }), call("now", {})],
  ],
  ["llama", '{"name": "someone", "parameters": {}}', [text('{"name": "someone", "parameters": {}}')]],
  ["llama", '{"answer": 42} is JSON', [text('{"answer": 42} is JSON')]],
  ["llama", 'Use {"name": "now"} so', [text('Use {"name": "now"} so')]],
  ["llama", '\u00a0{"name": "now"}', [text('\u00a0{"name": "now"}')]],
  ["llama", "  Hello ", [text("  Hello ")]],
  [
    "gemma",
    '[weather(city="Paris", days=3, exact=True), now()]',
    [call("weather", { city: "Paris", days: 3, exact: true }), call("now", {})],
  ],
  ["gemma", "```tool_code\nweather(city='Pa\\'ris')\n```\nDone", [call("weather", { city: "Pa'ris" }), text("Done")]],
  ["gemma", "[1, 2, 3] is a list", [text("[1, 2, 3] is a list")]],
  ["gemma", '{"name": "weather", "parameters": {"city": "Paris"}}', [call("weather", { city: "Paris" })]],
];

describe("tool calls in an answer", () => {
  test.each(CASES)("%s: %s", (style, answer, parts) => {
    expect(parse(style, [answer])).toEqual(parts);
    expect(parse(style, [...answer])).toEqual(parts);
    for (let cut = 0; cut <= answer.length; cut++)
      expect(parse(style, [answer.slice(0, cut), answer.slice(cut)])).toEqual(parts);
  });

  test("wherever any answer is cut, the result is the same, and text that isn't part of a call is never lost", () => {
    const scrap = fc.constantFrom(
      "<tool_call>",
      "</tool_call>",
      ONE,
      "```tool_code",
      "```",
      "[now()]",
      "<|python_tag|>",
      "{",
      "}",
      '"',
      ";",
      " ",
      "\n",
      "a",
      "\\",
    );
    fc.assert(
      fc.property(
        fc.constantFrom<ToolStyle>("hermes", "llama", "gemma"),
        fc.array(scrap, { maxLength: 12 }),
        fc.array(fc.nat(120), { maxLength: 4 }),
        (style, scraps, at) => {
          const answer = scraps.join("");
          const cuts = [0, ...at.map((n) => n % (answer.length + 1)).toSorted((a, b) => a - b), answer.length];
          const pieces = cuts.slice(1).map((end, i) => answer.slice(cuts[i], end));
          const whole = parse(style, [answer]);
          expect(parse(style, pieces)).toEqual(whole);
          if (whole.every(({ kind }) => kind === "text"))
            expect(whole.map((p) => p.kind === "text" && p.text).join("")).toBe(answer);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("text goes out as soon as it can't be a call any more", () => {
    const parser = toolCallParser("hermes", NAMES);
    expect(parser.push("Hello")).toEqual([text("Hello")]);
    expect(parser.push(" <tool")).toEqual([]);
    expect(parser.push("box")).toEqual([text(" <toolbox")]);
  });
});

describe("calls in Python's syntax", () => {
  test("literals become values", () => {
    expect(readPythonCalls(`f(a=-1.5e2, b=[1, 'x', None,], c={"k": (True,)}, d="\\u00e9\\n")`)).toEqual([
      { name: "f", arguments: { a: -150, b: [1, "x", null], c: { k: [true] }, d: "é\n" } },
    ]);
  });
  test.each([
    "",
    "f",
    "f(",
    "f(1)",
    "f(a=b)",
    "[f()",
    "f() g()",
    "f(a=1 b=2)",
    "f(a=open('x'))",
    `f(a=${"[".repeat(100)}`,
  ])("%s is no call", (written) => expect(readPythonCalls(written)).toBeUndefined());
});
