/** Grammars and structural tags that users write: what they take, and what is refused of them, with the real compiler. */
import { afterAll, describe, expect, test } from "vitest";
import type { GrammarFormat, TagFormat } from "../../../engine/grammar/format.ts";
import { GrammarError } from "../../../engine/refusals.ts";
import { takesWhole, tinyGrammars } from "../../support/tiny-grammars.ts";

const grammars = tinyGrammars();
afterAll(() => grammars.close());

const ebnf = (grammar: string): GrammarFormat => ({ type: "grammar", grammar });
const digits = ebnf("root ::= [0-9]+");
const any: GrammarFormat = { type: "any_text" };
const tag = (begin: string, content: GrammarFormat, end: string): TagFormat => ({ type: "tag", begin, content, end });
const triggered = (part: object = {}): GrammarFormat => ({
  type: "triggered_tags",
  triggers: ["<a"],
  tags: [tag("<a>", digits, "</a>")],
  ...part,
});
const sequence = (...elements: GrammarFormat[]): GrammarFormat => ({ type: "sequence", elements });
const or = (...elements: GrammarFormat[]): GrammarFormat => ({ type: "or", elements });

const SUM = 'root ::= term ("+" term)*\nterm ::= [0-9]+ | "(" root ")" # brackets';

describe("takes", () => {
  test.each<[string, GrammarFormat, readonly string[], readonly string[]]>([
    ["a grammar", ebnf(SUM), ["1", "(1+20)+3"], ["", "1+", "(1", "1+x"]],
    ["one that recurs on its left", ebnf('root ::= root "," item | item\nitem ::= "é" | "b"'), ["b,é,b"], ["b,", ""]],
    ["signs beyond ASCII", ebnf('root ::= "[é]" [^\\x41-\\u005a]+ # [é]'), ["[é]世b"], ["[é]A"]],
    ["a choice of nothing", ebnf('root ::= "" | "a"'), ["", "a"], ["b"]],
    ["tags within text", triggered(), ["", "so", "so <a>12</a> and <a>3</a>!"], ["<a>x</a>", "<ab", "so <a>12"]],
    ["at most one", triggered({ stop_after_first: true }), ["so", "so <a>1</a>"], ["<a>1</a> so"]],
    ["one at once", triggered({ at_least_one: true }), ["<a>1</a> so"], ["so", "so <a>1</a>"]],
    [
      "thought before an answer",
      sequence(tag("<t>", any, "</t>"), digits),
      ["<t>a 7</t>12", "<t></t>1"],
      ["<t>a</t>b", "1"],
    ],
    [
      "ways with and without an end",
      or(triggered({ at_least_one: true }), digits, sequence(ebnf('root ::= "x"'), any)),
      ["12", "xyz", "<a>1</a>so"],
      ["12x", "", "y"],
    ],
    [
      "a schema in a tag",
      tag("=", { type: "json_schema", json_schema: { type: "integer", minimum: 5, maximum: 12 } }, ";"),
      ["=5;", "=12;"],
      ["=4;", "=13;", "=5"],
    ],
  ])("%s", async (_, format, fits, others) => {
    for (const text of fits) expect([text, await takesWhole(grammars, format, text)]).toEqual([text, true]);
    for (const text of others) expect([text, await takesWhole(grammars, format, text)]).toEqual([text, false]);
  });
});

describe("refused", () => {
  const deep = Array.from({ length: 40 }).reduce<GrammarFormat>((inner) => sequence(inner), any);
  const endless = "(".repeat(20_000) + '"a"' + ")".repeat(20_000);
  test.each<[string, unknown, string]>([
    ["a syntax error, by its place", ebnf("root := a"), "EBNF lexer error at line 1, column 6"],
    ["a rule that isn't there", ebnf("root ::= a"), 'Rule "a" is not defined'],
    ["a grammar without a root", ebnf('a ::= "b"'), 'The root rule with name "root" is not found'],
    ["an empty grammar", ebnf(""), '"format.grammar" must be a text'],
    [
      "a class that would be read as another",
      ebnf('root ::= "[é]" [a\\u2000-\\u200a] # [é]'),
      "the class [a\\u2000-\\u200a] has",
    ],
    ["a grammar that goes nowhere", ebnf("root ::= root"), "no token that could begin the answer"],
    ["too many brackets", ebnf(`root ::= ${endless}`), "nested too deeply"],
    ["a type that isn't known", { type: "nope" }, '"format.type" must be one of any_text'],
    ["the same, inside", sequence({ type: "toString" } as never), '"format.elements[0].type" must be one of'],
    ["no object", or(7 as never), '"format.elements[0]" must be an object'],
    [
      "what would be passed over",
      triggered({ excludes: ["x"] }),
      '"format.excludes" is not supported in "triggered_tags"',
    ],
    ["a part that is missing", { type: "sequence" }, '"format.elements" must be a list of formats'],
    ["a part of another type", tag("<", any, ["a"] as never), '"format.end" must be a text'],
    ["a flag that is none", triggered({ at_least_one: 1 }), '"format.at_least_one" must be true or false'],
    ["tags that are none", triggered({ tags: [any] }), '"format.tags[0].type" must be tag'],
    ["no triggers", triggered({ triggers: [""] }), '"format.triggers" must be a list of texts'],
    ["a trigger of no tag", triggered({ triggers: ["<a", "<b"] }), '"format.triggers[1]" begins none of the tags'],
    [
      "a tag of no trigger",
      triggered({ tags: [tag("<a>", digits, ""), tag("b", digits, "")] }),
      '"format.tags[1].begin" must',
    ],
    ["triggers of each other", triggered({ triggers: ["<", "<a"] }), '"format.triggers[0]" begins another trigger too'],
    ["text behind what has no end", sequence(any, digits), '"format.elements[0]" has no end of its own'],
    ["a tag that never ends", tag("<", any, ""), '"format.end" must not be empty'],
    ["too much nesting", deep, "it is nested too deeply"],
    [
      "a schema inside that isn't supported",
      tag("<", { type: "json_schema", json_schema: { not: {} } }, ">"),
      '"not" is not supported',
    ],
  ])("%s", async (_, format, reason) => {
    const error = await grammars.mask(format as GrammarFormat).catch((refusal: unknown) => refusal);
    expect(error).toBeInstanceOf(GrammarError);
    expect((error as Error).message).toContain(reason);
    // Nobody else's grammar suffers.
    expect(await takesWhole(grammars, digits, "7")).toBe(true);
  });
});
