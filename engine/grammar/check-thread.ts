/** The other side of `checker.ts`: compiles what it is given in a thread of its own, and says what the compiler had against it. */
import type { GrammarCompiler } from "@mlc-ai/web-xgrammar";
import { GrammarError } from "../refusals.ts";
import type { GrammarFormat } from "./format.ts";
import { compile, createCompiler, type GrammarVocabulary, type XGrammar } from "./xgrammar.ts";

export type ToCheck =
  | { readonly type: "vocabulary"; readonly vocabulary: GrammarVocabulary }
  | { readonly type: "check"; readonly format: GrammarFormat };

export type FromCheck =
  /** The next check can begin. */
  | { readonly type: "ready" }
  | {
      readonly type: "checked";
      /** undefined: it can be compiled. */
      readonly problem: string | undefined;
      /** The compiler is unharmed. */
      readonly isSound: boolean;
    };

export interface CheckPort {
  post(message: FromCheck): void;
  onMessage(handler: (message: ToCheck) => void): void;
}

/** Where the library writes its messages: this thread's console is nobody else's. */
export interface CheckConsole {
  log: (...said: unknown[]) => void;
  error: (...said: unknown[]) => void;
}

/** Answers each message in turn. */
export function serveChecks(port: CheckPort, load: () => Promise<XGrammar>, output: CheckConsole): void {
  const said: string[] = [];
  output.log = output.error = (...words) => void said.push(words.join(" "));
  let library: XGrammar;
  let compiler: GrammarCompiler;

  async function check(format: GrammarFormat): Promise<FromCheck> {
    said.length = 0;
    try {
      const compiled = await compile(library, compiler, format);
      // The first mask as well: what can be read in many ways costs there.
      const matcher = await library.GrammarMatcher.createGrammarMatcher(compiled);
      const bits = await matcher.getNextTokenBitmask();
      matcher.dispose();
      compiled.dispose();
      if (bits.every((word) => word === 0))
        return { type: "checked", problem: "the model has no token that could begin the answer", isSound: true };
    } catch (error) {
      return { type: "checked", problem: reasonOf(said, error), isSound: error instanceof GrammarError };
    }
    // It warns of what it doesn't enforce.
    const warning = said.find((line) => line.includes("[WARNING]"));
    return { type: "checked", problem: warning && sentenceOf(warning), isSound: true };
  }

  port.onMessage((message) => {
    void (async () => {
      if (message.type === "check") return port.post(await check(message.format));
      library = await load();
      compiler = await createCompiler(library, message.vocabulary);
      port.post({ type: "ready" });
    })();
  });
}

function reasonOf(said: readonly string[], error: unknown): string {
  const fatal = said.find((line) => line.includes("[FATAL]"));
  if (fatal !== undefined) return sentenceOf(fatal);
  // Ours, before the compiler had it.
  if (error instanceof GrammarError) return error.message;
  // A trap without a word, or the engine's own: the stack is full.
  if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) return "it is nested too deeply";
  // An exception of C++ is a bare number.
  return error instanceof Error ? error.message : "the compiler refuses it, and doesn't say why";
}

/** Without its level, file, line and condition. */
function sentenceOf(line: string): string {
  return line
    .replace(/^.*?\[(FATAL|WARNING)\]\s*(\S+:\d+:)?\s*/s, "")
    .replace(/^Check failed: \(.*?\) is false:\s*/s, "")
    .slice(0, 500);
}
