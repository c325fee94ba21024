/**
 * Classes of characters, `[…]`, in grammars and patterns. The compiler takes only ASCII in them for what it is: `[éa]` is "a" to it, `[^\u2000]` any
 * character, and a dot any of ASCII.
 */
import { GrammarError } from "../refusals.ts";

/** Strings, comments and classes; what is in a class is the group. */
const IN_GRAMMAR = /"(?:\\.|[^"\\])*"|#[^\n]*|\[((?:\\.|[^\]\\])*)\]/gs;
/** Escapes, classes and dots. */
const IN_PATTERN = /\\.|\[((?:\\.|[^\]\\])*)\]|\./gs;
const CHARACTER = /\\(?:x([\da-f]{1,2})|u([\da-f]{4})|u\{([\da-f]+)\}|U([\da-f]{8}))|[^\0-\x7f]/gi;

/** Throws a GrammarError where a class has other characters than ASCII. */
export function checkGrammar(grammar: string): void {
  for (const [whole, inside] of grammar.matchAll(IN_GRAMMAR)) checkClass(whole, inside);
}

/** A regular expression that means to the compiler what it says. Throws a GrammarError where a class has other characters than ASCII. */
export function preparePattern(pattern: string): string {
  return pattern.replaceAll(IN_PATTERN, (whole: string, inside: string | undefined) => {
    checkClass(whole, inside);
    return whole === "." ? "[^\\n\\r]" : whole;
  });
}

function checkClass(whole: string, inside: string | undefined): void {
  if (inside === undefined) return;
  for (const [, ...codes] of inside.matchAll(CHARACTER)) {
    const code = codes.find((one) => one !== undefined);
    if (code === undefined || Number.parseInt(code, 16) > 127)
      throw new GrammarError(
        `the class ${whole.slice(0, 80)} has characters beyond ASCII, which is not supported: name them as alternatives, such as é|è`,
      );
  }
}
