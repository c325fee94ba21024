/**
 * Trains a byte-level BPE vocabulary for the tiny model: 256 bytes, then merges learned from a short text, then control tokens.
 */
import { BYTE_CHARACTERS, tokenOfBytes } from "../../engine/tokenizer/byte-level.ts";

export const CONTROL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] as const;

/** ChatML, with a default system prompt, as SmolLM2 has it. */
export const CHAT_TEMPLATE =
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}" +
  "{{ '<|im_start|>system\nYou are a tiny model.<|im_end|>\n' }}{% endif %}" +
  "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

const TEXT = `A mesh of many small machines can serve one large model when every worker knows what the others hold. The user asks a
question and the answer comes back as a stream of tokens, one after another, while the scheduler decides which sequence goes next.
system user assistant You are a helpful model. Could you explain what is dask? Write a short story about a river and a stone that
wanted to travel to the sea. The weather today is bright, the sky above the hills is blue and the birds are singing in the trees.
Numbers such as 1, 2, 3, 10, 42 and 2026 are split into digits; words like naïve, café, 世界 and 🙂 are made of several bytes.
function value returns the number of elements in the list, and then throws an error if there is nothing left to read from it.`;

const PIECES = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

export interface TrainedVocabulary {
  /** By id: 256 bytes, learned tokens, control tokens last. */
  readonly tokens: readonly string[];
  /** GGUF's spelling: two tokens with a space between. */
  readonly merges: readonly string[];
}

/** Greedy BPE (Sennrich et al., 2016): merges the most frequent neighbours until the vocabulary has `size` entries. */
export function trainVocabulary(size: number): TrainedVocabulary {
  const encoder = new TextEncoder();
  const words = (TEXT.match(PIECES) ?? []).map((piece) => [...tokenOfBytes(encoder.encode(piece))]);
  const tokens: string[] = [...BYTE_CHARACTERS];
  const known = new Set(tokens);
  const merges: string[] = [];
  while (tokens.length < size - CONTROL_TOKENS.length) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        const pair = `${word[i]} ${word[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    let best: string | undefined;
    for (const [pair, count] of counts) if (best === undefined || count > counts.get(best)!) best = pair;
    if (best === undefined) throw new Error(`the training text has too few pairs for a vocabulary of ${size}`);
    const [left, right] = best.split(" ") as [string, string];
    merges.push(best);
    if (!known.has(left + right)) {
      known.add(left + right);
      tokens.push(left + right);
    }
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++)
        if (word[i] === left && word[i + 1] === right) word.splice(i, 2, left + right);
    }
  }
  return { tokens: [...tokens, ...CONTROL_TOKENS], merges };
}
