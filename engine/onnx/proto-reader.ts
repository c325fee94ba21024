/** Protocol buffers as an ONNX file has them: fields and where their bytes lie. Every length is checked against what is there. */
import { CheckpointError } from "../gguf/error.ts";
import type { ByteSource } from "../gguf/source.ts";
import { ONNX_LIMITS } from "../limits.ts";

const WINDOW = 65_536;

export interface Field {
  readonly number: number;
  /** Of a number; 0 of others. */
  readonly value: number;
  /** Where the bytes of others lie. */
  readonly start: number;
  readonly end: number;
}

/** Protocol buffers' wire encoding, read through a window. */
export class ProtoReader {
  readonly #source: ByteSource;
  #window: Uint8Array = new Uint8Array(0);
  #from = 0;
  #fields = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  inside({ start, end }: Field): AsyncGenerator<Field, void, undefined> {
    return this.fields(start, end);
  }

  async *fields(start: number, end: number): AsyncGenerator<Field, void, undefined> {
    let at = start;
    while (at < end) {
      if (++this.#fields > ONNX_LIMITS.fields) throw damaged("it has too many parts");
      const tag = await this.#varint(at, end);
      const wire = tag.value % 8;
      const number = Math.floor(tag.value / 8);
      if (wire === 0) {
        const { value, next } = await this.#varint(tag.next, end);
        at = next;
        yield { number, value, start: next, end: next };
        continue;
      }
      const length = wire === 2 ? await this.#varint(tag.next, end) : { value: wire === 1 ? 8 : 4, next: tag.next };
      if (wire !== 1 && wire !== 2 && wire !== 5) throw damaged(`byte ${at} begins nothing that is known`);
      at = length.next + length.value;
      if (at > end) throw damaged(`a part that begins at byte ${length.next} is longer than what holds it`);
      yield { number, value: 0, start: length.next, end: at };
    }
  }

  /** Of a repeated number: one, or all of them packed. */
  async numbers({ value, start, end }: Field): Promise<readonly number[]> {
    if (start === end) return [value];
    const numbers: number[] = [];
    for (let at = start; at < end;) {
      const { value: one, next } = await this.#varint(at, end);
      numbers.push(one);
      if (numbers.length > ONNX_LIMITS.dimensions) throw damaged("a tensor has too many dimensions");
      at = next;
    }
    return numbers;
  }

  async text({ start, end }: Field): Promise<string> {
    if (end - start > ONNX_LIMITS.nameBytes) throw damaged(`a name at byte ${start} is too long`);
    return new TextDecoder().decode(await this.#source.read(start, end - start));
  }

  /** As an unsigned number: sizes beyond 2^53 are nonsense anyway. */
  async #varint(start: number, end: number): Promise<{ readonly value: number; readonly next: number }> {
    let value = 0;
    for (let i = 0; i < 10; i++) {
      if (start + i >= end) break;
      const byte = await this.#byte(start + i);
      value += (byte & 127) * 2 ** (7 * i);
      if (byte < 128) return { value, next: start + i + 1 };
    }
    throw damaged(`byte ${start} begins a number without an end`);
  }

  async #byte(at: number): Promise<number> {
    if (at < this.#from || at >= this.#from + this.#window.length) {
      this.#window = await this.#source.read(at, Math.min(WINDOW, this.#source.size - at));
      this.#from = at;
    }
    return this.#window[at - this.#from]!;
  }
}

export const damaged = (why: string): CheckpointError =>
  new CheckpointError(`this is no ONNX file, or a damaged one: ${why}`);
