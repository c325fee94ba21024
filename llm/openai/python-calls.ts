/** Reads calls written in Python's syntax, `[weather(city="Paris", days=3), now()]`: names, keyword arguments, literals. Evaluates nothing. */
export interface WrittenCall {
  readonly name: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

const NAMED: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ["True", true],
  ["true", true],
  ["False", false],
  ["false", false],
  ["None", null],
  ["null", null],
]);
/** Deeper nesting is not a call that a model meant. */
const DEPTH_MAX = 32;
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", "\n": "" };

/** The calls, or undefined where `text` is anything else. Surrounding white space doesn't matter. */
export function readPythonCalls(text: string): readonly WrittenCall[] | undefined {
  const reader = new Reader(text);
  try {
    const listed = reader.take("[");
    const calls = [reader.call()];
    while (reader.take(",")) calls.push(reader.call());
    if (listed) reader.expect("]");
    return reader.isAtEnd ? calls : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get isAtEnd(): boolean {
    return this.#match(/\s*/y) !== undefined && this.#at === this.#text.length;
  }

  /** Whether this sign comes next; it is then behind us. */
  take(sign: string): boolean {
    this.#match(/\s*/y);
    if (!this.#text.startsWith(sign, this.#at)) return false;
    this.#at += sign.length;
    return true;
  }

  expect(sign: string): void {
    if (!this.take(sign)) throw new SyntaxError(sign);
  }

  call(): WrittenCall {
    const name = this.#name();
    this.expect("(");
    const values: [string, unknown][] = [];
    while (!this.take(")")) {
      if (values.length > 0) {
        this.expect(",");
        if (this.take(")")) break;
      }
      const key = this.#name();
      this.expect("=");
      values.push([key, this.#value(0)]);
    }
    return { name, arguments: Object.fromEntries(values) };
  }

  #name(): string {
    this.#match(/\s*/y);
    const found = this.#match(/[\p{L}_][\p{L}\p{N}_.-]*/uy);
    if (found === undefined) throw new SyntaxError("name");
    return found;
  }

  #value(depth: number): unknown {
    if (depth > DEPTH_MAX) throw new SyntaxError("depth");
    if (this.take("[")) return this.#items("]", () => this.#value(depth + 1));
    if (this.take("(")) return this.#items(")", () => this.#value(depth + 1));
    if (this.take("{"))
      return Object.fromEntries(
        this.#items("}", () => {
          const key = this.#value(depth + 1);
          this.expect(":");
          return [String(key), this.#value(depth + 1)] as const;
        }),
      );
    const quote = this.take('"') ? '"' : this.take("'") ? "'" : undefined;
    if (quote !== undefined) return this.#string(quote);
    const number = this.#match(/[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?/y);
    if (number !== undefined) return Number(number);
    const name = this.#name();
    if (!NAMED.has(name)) throw new SyntaxError(name);
    return NAMED.get(name);
  }

  #items<T>(end: string, item: () => T): T[] {
    const items: T[] = [];
    while (!this.take(end)) {
      if (items.length > 0) {
        this.expect(",");
        if (this.take(end)) break;
      }
      items.push(item());
    }
    return items;
  }

  #string(quote: string): string {
    let value = "";
    for (; this.#at < this.#text.length; this.#at++) {
      const character = this.#text[this.#at]!;
      if (character === quote) {
        this.#at++;
        return value;
      }
      if (character !== "\\") {
        value += character;
        continue;
      }
      const unicode = this.#match(/\\u([0-9a-fA-F]{4})/y);
      if (unicode !== undefined) {
        value += String.fromCharCode(Number.parseInt(unicode.slice(2), 16));
        this.#at--;
        continue;
      }
      const escaped = this.#text[++this.#at] ?? "";
      value += ESCAPES[escaped] ?? escaped;
    }
    throw new SyntaxError("string");
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }
}
