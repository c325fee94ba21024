/**
 * The request that `fetch(request, ctx)` gets: a web `Request` in use, built lazily, because building undici's for every call costs
 * 1.3 to 2 times the throughput. What is rarely asked for (clone, formData, blob, `new Request(request)`) makes the real one.
 */
import type { FlatHeaders } from "../protocol/heads.ts";

/** A request body that is pulled; what is pulled makes room for the sender. */
export interface BodySource {
  /** The next piece, undefined at the end. Rejects when the sender is gone. */
  next(): Promise<Uint8Array | undefined>;
}

export interface RequestParts {
  readonly method: string;
  readonly scheme: "http" | "https";
  /** Path and query behind `mount`. */
  readonly path: string;
  readonly mount: string;
  readonly headers: FlatHeaders;
  readonly body: BodySource | null;
  readonly signal: () => AbortSignal;
}

const decoder = new TextDecoder();
const WebRequest = globalThis.Request;

export class LazyRequest {
  readonly method: string;
  readonly #parts: RequestParts;
  #url: string | undefined;
  #headers: Headers | undefined;
  #stream: ReadableStream<Uint8Array> | undefined;
  #web: Request | undefined;
  #used = false;

  constructor(parts: RequestParts) {
    this.method = parts.method;
    this.#parts = parts;
  }

  get url(): string {
    const { scheme, mount, path } = this.#parts;
    return (this.#url ??= `${scheme}://${this.#line("host") ?? "localhost"}${mount}${path.startsWith("/") || path === "" ? path : `/${path}`}`);
  }

  get headers(): Headers {
    if (this.#web !== undefined) return this.#web.headers;
    if (this.#headers === undefined) {
      this.#headers = new Headers();
      const { headers } = this.#parts;
      for (let i = 0; i < headers.length; i += 2) this.#headers.append(headers[i]!, headers[i + 1]!);
    }
    return this.#headers;
  }

  get signal(): AbortSignal {
    return this.#parts.signal();
  }

  get bodyUsed(): boolean {
    return this.#web?.bodyUsed ?? this.#used;
  }

  get body(): ReadableStream<Uint8Array> | null {
    if (this.#web !== undefined) return this.#web.body as ReadableStream<Uint8Array> | null;
    const source = this.#parts.body;
    if (source === null) return null;
    return (this.#stream ??= new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          this.#used = true;
          const piece = await source.next();
          if (piece === undefined) controller.close();
          else controller.enqueue(own(piece));
        },
      },
      { highWaterMark: 0 },
    ));
  }

  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return own(await this.#whole());
  }

  /** May be a view of the message that it came in. */
  async #whole(): Promise<Uint8Array> {
    if (this.#web !== undefined) return this.#web.bytes();
    if (this.#used || this.#stream?.locked === true)
      throw new TypeError("Body is unusable: Body has already been read");
    this.#used = true;
    const source = this.#parts.body;
    const first = await source?.next();
    if (source === null || first === undefined) return new Uint8Array(0);
    const pieces: Uint8Array[] = [];
    for (let piece: Uint8Array | undefined = first; piece !== undefined; piece = await source.next())
      pieces.push(piece);
    return pieces.length === 1 ? first : join(pieces);
  }

  async text(): Promise<string> {
    return decoder.decode(await this.#whole());
  }

  /** Throws a SyntaxError where the body is not JSON. */
  // oxlint-disable-next-line typescript/no-explicit-any -- as the Web's own Request has it
  async json(): Promise<any> {
    return JSON.parse(await this.text());
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    return (await this.bytes()).buffer;
  }

  async blob(): Promise<Blob> {
    return this.toWeb().blob();
  }

  async formData(): Promise<FormData> {
    return this.toWeb().formData();
  }

  clone(): Request {
    return this.toWeb().clone();
  }

  /** The platform's own Request. From then on both read the same body. */
  toWeb(): Request {
    if (this.#web === undefined) {
      const body = this.method === "GET" || this.method === "HEAD" ? null : this.body;
      const init: RequestInit & { duplex?: "half" } = {
        method: this.method,
        headers: this.headers,
        signal: this.signal,
      };
      if (body !== null) Object.assign(init, { body, duplex: "half" });
      this.#web = new WebRequest(this.url, init);
    }
    return this.#web;
  }

  #line(name: string): string | undefined {
    const { headers } = this.#parts;
    for (let i = 0; i < headers.length; i += 2) if (headers[i]!.toLowerCase() === name) return headers[i + 1];
    return undefined;
  }
}

// So that `request instanceof Request` holds and what is not overridden above (mode, cache, …) is there.
Object.setPrototypeOf(LazyRequest.prototype, WebRequest.prototype);
delegate(LazyRequest.prototype, WebRequest.prototype, (lazy) => lazy.toWeb());

/** What a platform's class has beyond what is written here (`cache`, `textStream`, …) is asked of the real object. */
export function delegate<L extends object, W extends object>(lazy: L, web: W, real: (lazy: L) => W): void {
  for (const [name, { get, value }] of Object.entries(Object.getOwnPropertyDescriptors(web))) {
    if (Object.hasOwn(lazy, name)) continue;
    if (get !== undefined)
      Object.defineProperty(lazy, name, {
        get(this: L): unknown {
          return get.call(real(this)) as unknown;
        },
      });
    else if (typeof value === "function")
      Object.defineProperty(lazy, name, {
        value(this: L, ...args: unknown[]): unknown {
          return (value as (...args: unknown[]) => unknown).apply(real(this), args);
        },
      });
  }
}

/** Lets `new Request(request)` take a lazy one. Called once by the process that runs user code, before it. */
export function installWebRequest(): void {
  class SkeinRequest extends WebRequest {
    constructor(input: RequestInfo | URL, init?: RequestInit) {
      super(input instanceof LazyRequest ? input.toWeb() : input, init);
    }
    static override [Symbol.hasInstance](this: unknown, value: unknown): boolean {
      // A class that extends Request has instances of its own.
      return this === SkeinRequest
        ? value instanceof WebRequest
        : Function.prototype[Symbol.hasInstance].call(this as () => void, value);
    }
  }
  Object.defineProperty(SkeinRequest, "name", { value: "Request" });
  globalThis.Request = SkeinRequest;
}

/** A copy with a buffer of its own: the message that a piece came in holds other requests' bytes. (A Buffer's slice() would not copy.) */
const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);

function join(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}
