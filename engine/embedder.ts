/** Texts to vectors: tokens, rows of like length, an encoder's run, the vectors in the order of the texts. Knows no runtime. */
import { Tokenizer } from "@huggingface/tokenizers";
import { EMBED_RUN_TOKENS, EMBED_TEXTS_MAX, PROMPT_CHARACTERS_MAX } from "./limits.ts";
import type { EncoderCheckpoint } from "./safetensors/encoder.ts";

/** `rows` texts of `sequence` tokens each, padded. */
export interface EncoderBatch {
  readonly rows: number;
  readonly sequence: number;
  /** Row-major `[rows, sequence]`. */
  readonly ids: Int32Array;
  /** 1 for a token, 0 for padding. */
  readonly mask: Float32Array;
}

/** Runs the encoder: vectors `[rows, embedding]`, row-major. Calls must not overlap. */
export type EncoderRun = (batch: EncoderBatch) => Promise<Float32Array>;

export class Embedder {
  readonly #run: EncoderRun;
  readonly #tokenizer: Tokenizer;
  readonly #maxTokens: number;
  readonly #width: number;
  #last: Promise<unknown> = Promise.resolve();

  constructor({ config, tokenizerJson }: Pick<EncoderCheckpoint, "config" | "tokenizerJson">, run: EncoderRun) {
    this.#run = run;
    this.#tokenizer = new Tokenizer(tokenizerJson, { tokenizer_class: "BertTokenizer" });
    this.#maxTokens = config.maxTokens;
    this.#width = config.embedding;
  }

  /** Ids of a text with the tokens around it; a text that is too long loses its end. */
  encode(text: string): number[] {
    const { ids } = this.#tokenizer.encode(text, { add_special_tokens: true });
    return ids.length <= this.#maxTokens ? ids : [...ids.slice(0, this.#maxTokens - 1), ids.at(-1)!];
  }

  /** One vector for each text. Throws RangeError for more texts or longer ones than the limits allow. */
  async embed(texts: readonly string[]): Promise<Float32Array[]> {
    if (texts.length > EMBED_TEXTS_MAX)
      throw new RangeError(
        `at most ${EMBED_TEXTS_MAX} texts are taken at once, not ${texts.length}: send them in parts`,
      );
    const characters = texts.reduce((most, text) => Math.max(most, text.length), 0);
    if (characters > PROMPT_CHARACTERS_MAX)
      throw new RangeError(`a text has ${characters} characters; at most ${PROMPT_CHARACTERS_MAX} are taken`);
    const encoded = texts.map((text, index) => ({ index, ids: this.encode(text) }));
    const vectors: Float32Array[] = [];
    for (const batch of batches(encoded)) {
      const values = await this.#inTurn(batch.map(({ ids }) => ids));
      batch.forEach(({ index }, row) => (vectors[index] = values.slice(row * this.#width, (row + 1) * this.#width)));
    }
    return vectors;
  }

  /** ONNX Runtime takes one run at a time. */
  #inTurn(rows: readonly (readonly number[])[]): Promise<Float32Array> {
    const run = this.#last.then(() => this.#run(padded(rows)));
    this.#last = run.catch(() => undefined);
    return run;
  }
}

interface EncodedText {
  readonly index: number;
  readonly ids: readonly number[];
}

/** Texts of like length together, so that little is padding; each batch within the bound of a run. */
function batches(texts: readonly EncodedText[]): EncodedText[][] {
  const result: EncodedText[][] = [];
  for (const text of texts.toSorted((a, b) => b.ids.length - a.ids.length)) {
    const batch = result.at(-1);
    // The first is the longest: it decides how long the rows are.
    if (batch && (batch.length + 1) * batch[0]!.ids.length <= EMBED_RUN_TOKENS) batch.push(text);
    else result.push([text]);
  }
  return result;
}

function padded(rows: readonly (readonly number[])[]): EncoderBatch {
  const sequence = Math.max(...rows.map((ids) => ids.length));
  const ids = new Int32Array(rows.length * sequence);
  const mask = new Float32Array(rows.length * sequence);
  rows.forEach((row, i) => {
    ids.set(row, i * sequence);
    mask.fill(1, i * sequence, i * sequence + row.length);
  });
  return { rows: rows.length, sequence, ids, mask };
}
