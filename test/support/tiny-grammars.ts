/** Grammars for the tiny model's vocabulary, with the real compiler. */
import { allowedTokens } from "./allowed-tokens.ts";
import type { GrammarFormat } from "../../engine/grammar/format.ts";
import { Grammars } from "../../engine/grammar/grammars.ts";
import { nodeGrammarHost } from "../../engine/node/grammar-host.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import { makeTinyGguf } from "./tiny-gguf.ts";

const { config, tokenizerMetadata } = makeTinyGguf();

export const TINY_TOKENIZER = Tokenizer.fromGguf(tokenizerMetadata);
export { config as TINY_CONFIG };

export const tinyGrammars = (): Grammars => new Grammars(nodeGrammarHost, TINY_TOKENIZER, config.vocabulary);

/** Whether the format takes a text as a whole, and ends there. */
export async function takesWhole(
  grammars: Grammars,
  format: GrammarFormat,
  text: string,
  tokenizer = TINY_TOKENIZER,
): Promise<boolean> {
  const mask = await grammars.mask(format);
  const allowed = async (): Promise<number[]> => {
    await mask.prepare();
    return allowedTokens(mask);
  };
  try {
    for (const token of tokenizer.encode(text)) {
      if (!(await allowed()).includes(token)) return false;
      mask.accept(token);
    }
    return (await allowed()).some((token) => tokenizer.isEnd(token));
  } finally {
    mask.dispose();
  }
}
