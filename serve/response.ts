/**
 * `Response` as user code makes it: a web `Response` in use, built lazily, because building undici's costs more than all else that happens
 * to a small request. What is usual (text, bytes or nothing; a status; lines of headers) is held as it is; anything else, and every use
 * of the body as a stream, makes the real one.
 */
import type { FlatHeaders } from "../protocol/heads.ts";
import { delegate } from "./request.ts";

const WebResponse = globalThis.Response;
const encoder = new TextEncoder();

const TEXT_TYPE = "text/plain;charset=UTF-8";
const JSON_TYPE = "application/json";
/** Statuses that can't have a body. */
const BODYLESS = new Set([204, 205, 304]);
const STATUS_TEXT = /^[\t\x20-\x7e\x80-\xff]*$/;
const NAME = /^[!#$%&'*+\-.^_`|~\dA-Za-z]+$/;
/** Without white space around it. */
const VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/;

/** Bytes as they come, which Node's `Response` takes beside what the Web's does; `return()` calls them off. */
export type Pieces = AsyncIterable<Uint8Array>;

type Held = string | Uint8Array<ArrayBuffer> | Pieces | null;

/** What is left to be sent when nobody has touched the body. */
export interface PlainResponse {
  readonly status: number;
  readonly headers: FlatHeaders;
  readonly body: string | Uint8Array | Pieces;
}

/** A response of the usual kind, checked. */
class Parts {
  readonly status: number;
  readonly statusText: string;
  /** Names in lower case, sorted, each once. */
  readonly headers: FlatHeaders;
  readonly body: Held;
  constructor(status: number, statusText: string, headers: FlatHeaders, body: Held) {
    this.status = status;
    this.statusText = statusText;
    this.headers = headers;
    this.body = body;
  }
}

export class LazyResponse {
  readonly #status: number;
  readonly #statusText: string;
  #lines: FlatHeaders | undefined;
  /** Once somebody has asked for them, they may change. */
  #headers: Headers | undefined;
  #body: Held = null;
  #used = false;
  /** Owns the body where it is there; status and headers stay ours. */
  #web: Response | undefined;

  constructor(body?: BodyInit | Pieces | Parts | null, init?: ResponseInit) {
    const parts = body instanceof Parts ? body : usual(body, init, TEXT_TYPE);
    if (parts !== null) {
      this.#status = parts.status;
      this.#statusText = parts.statusText;
      this.#lines = parts.headers;
      this.#body = parts.body;
    } else {
      // Also throws what it throws.
      const web = new WebResponse(body as BodyInit | null | undefined, init);
      this.#status = web.status;
      this.#statusText = web.statusText;
      this.#headers = web.headers;
      this.#web = web;
    }
  }

  static json(data: unknown, init?: ResponseInit): Response {
    const text = JSON.stringify(data) as string | undefined;
    const parts = text === undefined ? null : usual(text, init, JSON_TYPE);
    return parts === null ? WebResponse.json(data, init) : (new LazyResponse(parts) as unknown as Response);
  }

  static [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    // A class that extends Response has instances of its own.
    return this === LazyResponse
      ? value instanceof WebResponse
      : Function.prototype[Symbol.hasInstance].call(this as () => void, value);
  }

  /** For the runtime: the whole of a response that nobody has read; undefined for any other value. */
  static plain(value: object): PlainResponse | undefined {
    if (!(#status in value) || value.#web !== undefined || value.#used) return undefined;
    return { status: value.#status, headers: value.#flat(), body: value.#body ?? "" };
  }

  /** The platform's own Response with this one's body: for what only that can do. */
  static real(response: LazyResponse): Response {
    return response.#real();
  }

  get status(): number {
    return this.#status;
  }

  get statusText(): string {
    return this.#statusText;
  }

  get ok(): boolean {
    return this.#status >= 200 && this.#status <= 299;
  }

  get type(): ResponseType {
    return "default";
  }

  get url(): string {
    return "";
  }

  get redirected(): boolean {
    return false;
  }

  get headers(): Headers {
    if (this.#headers === undefined) {
      this.#headers = new Headers();
      const lines = this.#lines ?? [];
      for (let i = 0; i < lines.length; i += 2) this.#headers.append(lines[i]!, lines[i + 1]!);
    }
    return this.#headers;
  }

  get body(): ReadableStream<Uint8Array<ArrayBuffer>> | null {
    return this.#web === undefined && this.#body === null ? null : (this.#real().body as never);
  }

  get bodyUsed(): boolean {
    return this.#web?.bodyUsed ?? this.#used;
  }

  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#web !== undefined || isPieces(this.#body)) return this.#real().bytes();
    const body = this.#take() as Exclude<Held, Pieces>;
    return typeof body === "string" ? encoder.encode(body) : new Uint8Array(body ?? []);
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    return (await this.bytes()).buffer;
  }

  async text(): Promise<string> {
    if (typeof this.#body !== "string" || this.#body.startsWith("\ufeff")) return this.#real().text();
    return (this.#take() as string).toWellFormed();
  }

  /** Throws a SyntaxError where the body is not JSON. */
  // oxlint-disable-next-line typescript/no-explicit-any -- as the Web's own Response has it
  async json(): Promise<any> {
    return JSON.parse(await this.text());
  }

  async blob(): Promise<Blob> {
    return this.#typed().blob();
  }

  async formData(): Promise<FormData> {
    return this.#typed().formData();
  }

  clone(): Response {
    const init = { status: this.#status, statusText: this.#statusText };
    if (this.#web === undefined && !this.#used && !isPieces(this.#body))
      return new LazyResponse(new Parts(init.status, init.statusText, this.#flat(), this.#body)) as unknown as Response;
    // Both read on: this one the one half, the clone the other.
    return new WebResponse(this.#real().clone().body, { ...init, headers: this.headers });
  }

  #take(): Held {
    if (this.#used) throw new TypeError("Body is unusable: Body has already been read");
    this.#used = this.#body !== null;
    return this.#body;
  }

  #flat(): FlatHeaders {
    if (this.#headers === undefined) return this.#lines ?? [];
    const lines: string[] = [];
    this.#headers.forEach((value, name) => void lines.push(name, value));
    return lines;
  }

  /** From then on it has the body. */
  #real(): Response {
    if (this.#web === undefined) {
      const body = isPieces(this.#body) ? streamOf(this.#body) : this.#body;
      this.#web = new WebResponse(body, { status: this.#status });
      this.#body = null;
      if (this.#used) void this.#web.arrayBuffer();
    }
    return this.#web;
  }

  /** A real one whose body is this one's, of the type that the headers say now. */
  #typed(): Response {
    return new WebResponse(this.#real().body, { headers: this.headers });
  }
}

// So that `instanceof` holds for both, and `Response.error()` and `Response.redirect()` are the platform's.
Object.setPrototypeOf(LazyResponse.prototype, WebResponse.prototype);
Object.setPrototypeOf(LazyResponse, WebResponse);
delegate(LazyResponse.prototype, WebResponse.prototype, (lazy) => LazyResponse.real(lazy));
Object.defineProperties(LazyResponse, { name: { value: "Response" }, length: { value: 0 } });

/** Makes it the global `Response`. Called once by the process that runs user code, before it. */
export function installWebResponse(): void {
  globalThis.Response = LazyResponse as unknown as typeof Response;
}

/** Null for what the platform's own class should look at, or refuse. */
function usual(body: unknown, init: ResponseInit | null | undefined, type: string): Parts | null {
  const held = bodyOf(body);
  if (held === undefined) return null;
  const own = typeof held === "string" ? type : "";
  if (init === undefined || init === null) return new Parts(200, "", own === "" ? [] : ["content-type", own], held);
  if (typeof init !== "object") return null;
  const { status = 200, statusText = "", headers } = init;
  if (!Number.isInteger(status) || status < 200 || status > 599 || (held !== null && BODYLESS.has(status))) return null;
  if (typeof statusText !== "string" || !STATUS_TEXT.test(statusText)) return null;
  const lines = linesOf(headers, own);
  return lines === null ? null : new Parts(status, statusText, lines, held);
}

/** A copy of bytes, as the Web's own makes one. Undefined for what isn't usual. */
function bodyOf(body: unknown): Held | undefined {
  if (typeof body === "string") return body;
  if (body === null || body === undefined) return null;
  if (isPieces(body)) return body;
  return body instanceof Uint8Array && body.buffer instanceof ArrayBuffer ? new Uint8Array(body) : undefined;
}

/** Streams of the Web's are its own matter. */
const isPieces = (body: unknown): body is Pieces =>
  typeof body === "object" && body !== null && Symbol.asyncIterator in body && !(body instanceof ReadableStream);

/** As a browser needs it, whose own `Response` takes no iterables. */
function streamOf(pieces: Pieces): ReadableStream<Uint8Array<ArrayBuffer>> {
  const iterator = pieces[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      async pull(controller) {
        const { done, value } = await iterator.next();
        if (done === true) controller.close();
        else controller.enqueue(new Uint8Array(value));
      },
      cancel: async () => void (await iterator.return?.()),
    },
    { highWaterMark: 0 },
  );
}

/** Null for names or values that want a closer look, and for names that come twice. */
function linesOf(headers: HeadersInit | undefined, type: string): FlatHeaders | null {
  const pairs: [string, string][] = [];
  if (headers instanceof Headers) headers.forEach((value, name) => void pairs.push([name, value]));
  else if (headers !== undefined) {
    if (typeof headers !== "object" || headers === null) return null;
    const given: readonly unknown[] = Array.isArray(headers) ? headers : plainEntries(headers);
    const names = new Set<string>();
    for (const pair of given) {
      if (!Array.isArray(pair) || pair.length !== 2) return null;
      const [name, value] = pair as [unknown, unknown];
      if (typeof name !== "string" || typeof value !== "string" || !NAME.test(name) || !VALUE.test(value)) return null;
      const lower = name.toLowerCase();
      if (names.has(lower)) return null;
      names.add(lower);
      pairs.push([lower, value]);
    }
  }
  if (type !== "" && !pairs.some(([name]) => name === "content-type")) pairs.push(["content-type", type]);
  // A web Headers is sorted by name.
  if (pairs.length > 1) pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return pairs.flat();
}

/** What can be iterated (another program's Headers, a Map) is not read key by key. */
const plainEntries = (headers: object): readonly unknown[] =>
  Symbol.iterator in headers ? [undefined] : Object.entries(headers);
