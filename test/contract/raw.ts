/** An HTTP/1.1 client that hides nothing: bytes out, and how the answer was framed, chunk by chunk. For 127.0.0.1 only. */
import { connect, type Socket } from "node:net";

export interface RawAnswer {
  readonly status: number;
  /** In the order received, names in lower case. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
  readonly framing: "chunked" | "content-length" | "none" | "until close";
  readonly chunks: readonly Buffer[];
  /** How the body ended when it did not end cleanly. */
  readonly end: string | null;
  /** Status lines of 1xx answers before this one. */
  readonly interim: readonly string[];
}

/** An answer that hangs is a failed one, ms. */
const ANSWER_WITHIN_MS = 30_000;

/** One TCP connection. */
export class RawConnection {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #closed = false;
  #wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (bytes: Buffer) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      this.#wake();
    });
    const closed = (): void => {
      this.#closed = true;
      this.#wake();
    };
    socket.on("end", closed).on("close", closed).on("error", closed);
  }

  static open(port: number): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      socket.once("connect", () => resolve(new RawConnection(socket))).once("error", reject);
    });
  }

  send(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  /** The next answer; "closed" when the server closed without one. `method` decides whether a body follows. */
  async answer(method: string): Promise<RawAnswer | "closed"> {
    for (;;) {
      const parsed = parseAnswer(this.#received, method, this.#closed);
      if (parsed !== null) {
        this.#received = this.#received.subarray(parsed.used);
        return parsed.answer;
      }
      if (this.#closed) return "closed";
      await this.#more("an answer");
    }
  }

  /** The first bytes of what comes, up to an empty line. */
  async firstBytes(): Promise<string> {
    while (!this.#received.includes("\r\n\r\n") && !this.#closed) await this.#more("a head");
    const end = this.#received.indexOf("\r\n\r\n");
    return this.#received.subarray(0, end < 0 ? undefined : end + 4).toString("latin1");
  }

  /** True when the server closes the connection soon. */
  async closedByServer(): Promise<boolean> {
    while (!this.#closed) await this.#more("the end of the connection");
    return true;
  }

  close(): void {
    this.socket.destroy();
  }

  #more(what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(
          new Error(
            `No sign of ${what} within ${ANSWER_WITHIN_MS} ms; so far: ${this.#received.subarray(0, 300).toString("latin1")}`,
          ),
        );
      }, ANSWER_WITHIN_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** One request on a connection of its own. */
export async function exchange(port: number, bytes: string | Buffer, method: string): Promise<RawAnswer | "closed"> {
  const connection = await RawConnection.open(port);
  try {
    connection.send(bytes);
    return await connection.answer(method);
  } finally {
    connection.close();
  }
}

/** Null: not all there yet. */
export function parseAnswer(
  bytes: Buffer,
  method: string,
  closed: boolean,
): { answer: RawAnswer; used: number } | null {
  const interim: string[] = [];
  let at = 0;
  for (;;) {
    const end = bytes.indexOf("\r\n\r\n", at);
    if (end < 0) return null;
    const [line = "", ...lines] = bytes.subarray(at, end).toString("latin1").split("\r\n");
    const status = Number(line.split(" ")[1]);
    at = end + 4;
    if (status >= 100 && status < 200 && status !== 101) {
      interim.push(line);
      continue;
    }
    const headers = lines.map((text) => {
      const colon = text.indexOf(":");
      return [text.slice(0, colon).toLowerCase(), text.slice(colon + 1).trim()] as const;
    });
    const body = parseBody(bytes.subarray(at), method, status, new Map(headers), closed);
    return body === null ? null : { answer: { status, headers, interim, ...body.answer }, used: at + body.used };
  }
}

type Body = Pick<RawAnswer, "body" | "framing" | "chunks" | "end">;

function parseBody(
  bytes: Buffer,
  method: string,
  status: number,
  headers: ReadonlyMap<string, string>,
  closed: boolean,
): { answer: Body; used: number } | null {
  if (method === "HEAD" || status === 204 || status === 304)
    return { answer: { body: Buffer.alloc(0), framing: "none", chunks: [], end: null }, used: 0 };
  if (headers.get("transfer-encoding") === "chunked") return parseChunks(bytes, closed);
  const length = headers.get("content-length");
  if (length !== undefined) {
    const whole = bytes.length >= Number(length);
    if (!whole && !closed) return null;
    const body = Buffer.from(bytes.subarray(0, Number(length)));
    return {
      answer: { body, framing: "content-length", chunks: [], end: whole ? null : "truncated" },
      used: body.length,
    };
  }
  return closed ? { answer: { body: bytes, framing: "until close", chunks: [], end: null }, used: bytes.length } : null;
}

function parseChunks(bytes: Buffer, closed: boolean): { answer: Body; used: number } | null {
  const chunks: Buffer[] = [];
  let at = 0;
  for (;;) {
    const line = bytes.indexOf("\r\n", at);
    const size = line < 0 ? Number.NaN : Number.parseInt(bytes.subarray(at, line).toString("latin1"), 16);
    if (line < 0 || bytes.length < line + 2 + size + 2) {
      if (!closed) return null;
      return {
        answer: {
          body: Buffer.concat(chunks),
          framing: "chunked",
          chunks,
          end: "connection closed before the terminating chunk",
        },
        used: bytes.length,
      };
    }
    at = line + 2 + size + 2;
    if (size === 0) return { answer: { body: Buffer.concat(chunks), framing: "chunked", chunks, end: null }, used: at };
    chunks.push(Buffer.from(bytes.subarray(line + 2, line + 2 + size)));
  }
}
