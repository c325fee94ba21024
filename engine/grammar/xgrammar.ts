/**
 * The grammar compiler, xgrammar in WebAssembly: how it is loaded, told of a vocabulary, and given a format. It ends in a trap where it can't go on,
 * and has then lost part of its stack for good: what it is given in the engine's thread was compiled elsewhere before (`checker.ts`).
 */
import type { CompiledGrammar, Grammar, GrammarCompiler, GrammarMatcher, TokenizerInfo } from "@mlc-ai/web-xgrammar";
import { tokenOfBytes } from "../tokenizer/byte-level.ts";
import { checkGrammar, preparePattern } from "./classes.ts";
import type { GrammarFormat } from "./format.ts";
import { prepareSchema } from "./schema.ts";
import { alike, checkStructure } from "./structure.ts";

export interface XGrammar {
  readonly Grammar: typeof Grammar;
  readonly GrammarCompiler: typeof GrammarCompiler;
  readonly GrammarMatcher: typeof GrammarMatcher;
  readonly TokenizerInfo: typeof TokenizerInfo;
}

/** A model's tokens as the compiler wants them. Can be cloned. */
export interface GrammarVocabulary {
  /** Each token's bytes in the byte alphabet, whatever the tokenizer's own spelling; "" for tokens without text, which never fit. */
  readonly tokens: readonly string[];
  /** Scores that the model gives: there may be more than tokens. */
  readonly size: number;
  readonly endTokens: readonly number[];
}

/** What the compiler needs to know of a tokenizer. */
export interface GrammarTokenizer {
  readonly vocabulary: number;
  readonly endTokens: readonly number[];
  bytesOf(token: number): Uint8Array;
}

export function vocabularyOf(tokenizer: GrammarTokenizer, size: number): GrammarVocabulary {
  const tokens = Array.from({ length: Math.min(tokenizer.vocabulary, size) }, (_, token) =>
    tokenOfBytes(tokenizer.bytesOf(token)),
  );
  return { tokens, size, endTokens: tokenizer.endTokens };
}

/**
 * The library. It is a script that leaves its face in the global scope.
 * @param importScript runs it
 */
export async function loadXGrammar(importScript: () => Promise<unknown>): Promise<XGrammar> {
  const scope: { xgrammar?: XGrammar; location?: unknown } = globalThis;
  if (scope.xgrammar !== undefined) return scope.xgrammar;
  // It wants to know where it lies, and without a location asks CommonJS's names for it, which modules don't have. Only while it begins.
  const isWithout = scope.location === undefined;
  if (isWithout) scope.location = { href: import.meta.url };
  try {
    await importScript();
    const library: XGrammar = scope.xgrammar!;
    (await library.TokenizerInfo.createTokenizerInfo([])).dispose();
    return library;
  } finally {
    if (isWithout) delete scope.location;
  }
}

/** A compiler for one vocabulary: 0.1 s for 49,152 tokens. */
export async function createCompiler(
  { TokenizerInfo: Info, GrammarCompiler: Compiler }: XGrammar,
  { tokens, size, endTokens }: GrammarVocabulary,
): Promise<GrammarCompiler> {
  const info = await Info.createTokenizerInfo([...tokens], "byte_level", false, size, [...endTokens]);
  return Compiler.createGrammarCompiler(info, false);
}

/** Throws a GrammarError where the format makes no sense; ends in a trap, or with a number thrown, where the compiler finds so. */
export async function compile(
  library: XGrammar,
  compiler: GrammarCompiler,
  format: GrammarFormat,
): Promise<CompiledGrammar> {
  checkStructure(format);
  return compiler.compileStructuralTag((await lowered(library, format)) as Record<string, unknown>);
}

/** Schemas become grammars of JSON on one line: free white space would let a small model write nothing else until its end. */
async function lowered(library: XGrammar, format: GrammarFormat): Promise<object> {
  switch (format.type) {
    case "json_schema": {
      const { schema, rules } = prepareSchema(format.json_schema);
      const grammar = await library.Grammar.fromJSONSchema(JSON.stringify(schema), false, -1);
      try {
        return { type: "grammar", grammar: withRules(readable(grammar.toString()), rules) };
      } finally {
        grammar.dispose();
      }
    }
    case "or":
      return { ...format, elements: await each(alike(format.elements), (way) => lowered(library, way)) };
    case "sequence":
      return { ...format, elements: await each(format.elements, (element) => lowered(library, element)) };
    case "tag":
      return { ...format, content: await lowered(library, format.content) };
    case "tags_with_separator":
    case "triggered_tags":
      return { ...format, tags: await each(format.tags, (tag) => lowered(library, tag)) };
    case "regex":
      return { ...format, pattern: preparePattern(format.pattern) };
    case "grammar":
      checkGrammar(format.grammar);
      return format;
    default:
      return format;
  }
}

/** The library writes U+00E9 as `\xe9`, and reads on for as long as hexadecimal digits follow: "éa" would be U+0E9A. */
const readable = (grammar: string): string =>
  grammar.replaceAll(/\\(?:x([0-9a-f]{2})|.)/gs, (whole, code: string | undefined) =>
    code === undefined ? whole : `\\u00${code}`,
  );

/** Stand-ins are texts in JSON: where one was, its rule is named. */
function withRules(grammar: string, rules: ReadonlyMap<string, string>): string {
  let whole = grammar;
  for (const [at, [standIn, rule]] of [...rules].entries()) {
    whole = whole.replaceAll(`\\"${standIn}\\"`, `" number_${at} "`);
    whole += `\nnumber_${at} ::= ${rule}`;
  }
  return whole;
}

/** One after the other. */
async function each<T>(items: readonly T[], lower: (item: T) => Promise<object>): Promise<object[]> {
  const made: object[] = [];
  for (const item of items) made.push(await lower(item));
  return made;
}
