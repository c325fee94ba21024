/** Grammars for the tiny model's vocabulary, with the real compiler. */
import { Grammars } from "../../engine/grammar/grammars.ts";
import { nodeGrammarHost } from "../../engine/node/grammar-host.ts";
import { Tokenizer } from "../../engine/tokenizer/tokenizer.ts";
import { makeTinyGguf } from "./tiny-gguf.ts";

const { config, tokenizerMetadata } = makeTinyGguf();

export const TINY_TOKENIZER = Tokenizer.fromGguf(tokenizerMetadata);
export { config as TINY_CONFIG };

export const tinyGrammars = (): Grammars => new Grammars(nodeGrammarHost, TINY_TOKENIZER, config.vocabulary);
