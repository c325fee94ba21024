/**
 * Text to token ids, messages to prompt ids, token ids to bytes. Built from a description; knows nothing of checkpoints or files.
 */
import { Template } from "@huggingface/jinja";
import { Tokenizer as BpeTokenizer } from "@huggingface/tokenizers";
import type { TokenizerMetadata } from "../gguf/config.ts";
import { bytesOfToken } from "./byte-level.ts";
import type { TokenizerDescription } from "./description.ts";
import { describeGgufTokenizer } from "./from-gguf.ts";
import { bytesOfPiece } from "./sentencepiece.ts";

/** One turn of a conversation. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  /** Calls that the assistant made, their arguments as values: what templates write out. */
  readonly tool_calls?: readonly object[];
  /** Of a tool's answer. */
  readonly tool_call_id?: string;
  /** What the assistant thought before it said this: templates decide how much of it is shown again. */
  readonly reasoning_content?: string;
  readonly name?: string;
}

/** What a conversation's prompt has beside its messages. */
export interface ChatPromptOptions {
  /** Functions that the model may call, as the template writes them out. */
  readonly tools?: readonly object[];
  /** What else the template may read, such as `enable_thinking`; what the engine sets itself can't be said so. */
  readonly values?: Readonly<Record<string, unknown>>;
}

const NO_BYTES = new Uint8Array(0);

/** What a template refuses (such as two turns of the user in a row) is the caller's mistake. */
function render(template: Template, values: Record<string, unknown>): string {
  try {
    return template.render(values);
  } catch (error) {
    throw new RangeError(
      `the model's chat template refuses the conversation: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

export class Tokenizer {
  readonly #description: TokenizerDescription;
  readonly #bpe: BpeTokenizer;
  readonly #template: Template | undefined;
  readonly #control: ReadonlySet<number>;
  readonly #literal: ReadonlySet<number>;
  readonly #ends: ReadonlySet<number>;

  constructor(description: TokenizerDescription) {
    this.#description = description;
    this.#bpe = new BpeTokenizer(description.tokenizerJson, { tokenizer_class: "GPT2Tokenizer" });
    this.#template = description.chatTemplate === undefined ? undefined : new Template(description.chatTemplate);
    this.#control = new Set(description.controlTokens);
    this.#literal = new Set(description.literalTokens);
    this.#ends = new Set(description.endTokens);
  }

  /** Of a GGUF file's `tokenizer.*` metadata. Throws naming what is missing or not supported. */
  static fromGguf(metadata: TokenizerMetadata): Tokenizer {
    return new Tokenizer(describeGgufTokenizer(metadata));
  }

  get vocabulary(): number {
    return this.#description.tokens.length;
  }

  /** Source of the chat template; undefined where the model has none. */
  get chatTemplate(): string | undefined {
    return this.#description.chatTemplate;
  }

  /** Ids of plain text. Control tokens spelled in `text` become their ids. A start token is put first where the model wants it. */
  encode(text: string): number[] {
    const ids = this.#bpe.encode(text, { add_special_tokens: false }).ids;
    const { addBosToken, bosToken } = this.#description;
    return addBosToken && bosToken !== undefined && ids[0] !== bosToken ? [bosToken, ...ids] : ids;
  }

  /** Prompt ids of a conversation, ready for the assistant's answer. A RangeError where the model has no chat template, or it refuses. */
  encodeChat(messages: readonly ChatMessage[], options: ChatPromptOptions = {}): number[] {
    return this.encode(this.renderChat(messages, options));
  }

  /** The prompt as text. */
  renderChat(messages: readonly ChatMessage[], { tools, values }: ChatPromptOptions = {}): string {
    if (this.#template === undefined) {
      throw new RangeError(
        "the model has no chat template: give it a plain prompt, or load an instruction-tuned model",
      );
    }
    const { tokens, bosToken, eosToken } = this.#description;
    const { tools: _, ...others } = values ?? {};
    return render(this.#template, {
      ...others,
      messages: [...messages],
      ...(tools === undefined ? {} : { tools: [...tools] }),
      add_generation_prompt: true,
      bos_token: bosToken === undefined ? "" : tokens[bosToken],
      eos_token: eosToken === undefined ? "" : tokens[eosToken],
    });
  }

  /** Ids that end an answer. */
  get endTokens(): readonly number[] {
    return this.#description.endTokens;
  }

  /** Whether `token` ends an answer. */
  isEnd(token: number): boolean {
    return this.#ends.has(token);
  }

  /**
   * The UTF-8 bytes of one token: a token may hold part of a character. Unknown ids have none.
   * @param showsControl control tokens have those of their spelling; else none
   */
  bytesOf(token: number, showsControl = false): Uint8Array {
    const spelling = this.#description.tokens[token];
    if (spelling === undefined) return NO_BYTES;
    if (this.#control.has(token)) return showsControl ? new TextEncoder().encode(spelling) : NO_BYTES;
    if (this.#description.spelling === "sentencepiece") return bytesOfPiece(spelling);
    const bytes = this.#literal.has(token) ? undefined : bytesOfToken(spelling);
    return bytes ?? new TextEncoder().encode(spelling);
  }

  /** The text of a whole sequence; what is not UTF-8 becomes U+FFFD. */
  decode(tokens: readonly number[]): string {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return tokens.map((token) => decoder.decode(this.bytesOf(token), { stream: true })).join("") + decoder.decode();
  }
}
