/**
 * The grammars of one model: checked, compiled and kept, each once for all who ask for it. Nothing is loaded before the first.
 */
import type { CompiledGrammar, GrammarCompiler } from "@mlc-ai/web-xgrammar";
import { GRAMMARS_CHARACTERS_MAX, GRAMMARS_MAX, GRAMMARS_STARTING_MAX } from "../limits.ts";
import { EngineFullError, GrammarError } from "../refusals.ts";
import { GrammarChecker, type CheckThread } from "./checker.ts";
import { keyOf, type GrammarFormat } from "./format.ts";
import { GrammarMask, type LogitsMask } from "./mask.ts";
import {
  compile,
  createCompiler,
  type GrammarTokenizer,
  type GrammarVocabulary,
  vocabularyOf,
  type XGrammar,
} from "./xgrammar.ts";

export interface GrammarHost {
  load(): Promise<XGrammar>;
  /** A thread that answers by `serveChecks`. */
  spawnCheck(): CheckThread;
  /** Milliseconds that never go back: at best those in which this thread computed, for a machine that is busy is no grammar's fault. */
  now(): number;
  /** Calls back once after `ms`; returns how to call it off. */
  after(ms: number, callback: () => void): () => void;
}

interface Kept {
  readonly compiled: Promise<CompiledGrammar>;
  isSettled: boolean;
}

export class Grammars {
  readonly #host: GrammarHost;
  readonly #checker: GrammarChecker;
  readonly #tokenizer: GrammarTokenizer;
  readonly #size: number;
  /** In the order of use. */
  readonly #kept = new Map<string, Kept>();
  #vocabulary: GrammarVocabulary | undefined;
  #compiler: Promise<{ readonly library: XGrammar; readonly compiler: GrammarCompiler }> | undefined;

  /** @param size scores that the model gives */
  constructor(host: GrammarHost, tokenizer: GrammarTokenizer, size: number) {
    this.#host = host;
    this.#tokenizer = tokenizer;
    this.#size = size;
    this.#checker = new GrammarChecker({
      spawn: () => host.spawnCheck(),
      after: (ms, callback) => host.after(ms, callback),
      vocabulary: () => this.#words(),
    });
  }

  /** The mask of a new answer. Rejects with a GrammarError where the format can't be compiled. */
  async mask(format: GrammarFormat): Promise<LogitsMask> {
    const compiled = await this.#compiled(format);
    const { library } = await this.#compiler!;
    const matcher = await library.GrammarMatcher.createGrammarMatcher(compiled);
    return new GrammarMask(matcher, this.#tokenizer.endTokens, () => this.#host.now());
  }

  /** Grammars that are kept or being compiled. */
  get size(): number {
    return this.#kept.size;
  }

  close(): void {
    this.#checker.close();
  }

  #compiled(format: GrammarFormat): Promise<CompiledGrammar> {
    const key = keyOf(format);
    const kept = this.#kept.get(key) ?? this.#begin(key, format);
    // Last in the order of use.
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    return kept.compiled;
  }

  #begin(key: string, format: GrammarFormat): Kept {
    const starting = this.#kept.values().reduce((sum, { isSettled }) => sum + (isSettled ? 0 : 1), 0);
    if (starting >= GRAMMARS_STARTING_MAX)
      throw new EngineFullError(`the engine is full: ${GRAMMARS_STARTING_MAX} grammars wait to be compiled`);
    const kept: Kept = { compiled: this.#compile(format), isSettled: false };
    kept.compiled.then(
      () => {
        kept.isSettled = true;
        this.#forget();
      },
      // What was refused in a crowd may do later.
      () => this.#kept.delete(key),
    );
    return kept;
  }

  /** What is forgotten lives on while answers are made by it. */
  #forget(): void {
    let characters = this.#kept.keys().reduce((sum, { length }) => sum + length, 0);
    for (const [key, { isSettled }] of this.#kept) {
      if (this.#kept.size <= GRAMMARS_MAX && characters <= GRAMMARS_CHARACTERS_MAX) return;
      if (!isSettled) continue;
      this.#kept.delete(key);
      characters -= key.length;
    }
  }

  async #compile(format: GrammarFormat): Promise<CompiledGrammar> {
    await this.#checker.check(format);
    try {
      this.#compiler ??= this.#load();
      const { library, compiler } = await this.#compiler;
      return await compile(library, compiler, format);
    } catch (cause) {
      throw new GrammarError(`the compiler broke: ${cause instanceof Error ? cause.message : String(cause)}`, {
        cause,
      });
    }
  }

  async #load(): Promise<{ library: XGrammar; compiler: GrammarCompiler }> {
    const library = await this.#host.load();
    return { library, compiler: await createCompiler(library, this.#words()) };
  }

  #words(): GrammarVocabulary {
    return (this.#vocabulary ??= vocabularyOf(this.#tokenizer, this.#size));
  }
}
