/**
 * Token ids to text, one by one: a character that spans tokens comes out whole, once. Byte-level tokens need no look-ahead for
 * spaces, so text is final as soon as its bytes are.
 */
export class Detokenizer {
  readonly #bytesOf: (token: number) => Uint8Array;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(bytesOf: (token: number) => Uint8Array) {
    this.#bytesOf = bytesOf;
  }

  /** The text that `token` completes; "" while a character is unfinished. */
  push(token: number): string {
    return this.#decoder.decode(this.#bytesOf(token), { stream: true });
  }

  /** What an unfinished character at the end amounts to: U+FFFD, or "". */
  finish(): string {
    return this.#decoder.decode();
  }
}
