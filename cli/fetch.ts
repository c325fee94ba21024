/**
 * The part of `fetch` that the command uses, on node:http: the global one loads all of undici, 20 MB in a process that stays for as long
 * as a mesh does. The global one is a `Fetch` too.
 */
import { request, type IncomingMessage } from "node:http";

export interface Answer {
  readonly ok: boolean;
  readonly status: number;
  readonly body: AsyncIterable<Uint8Array> | null;
  text(): Promise<string>;
  json(): Promise<unknown>;
}

export interface Ask {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly signal?: AbortSignal;
  /** Redirects are never followed: they would carry the token elsewhere. */
  readonly redirect?: "error";
}

/** Rejects with a TypeError that has the `cause` when no answer comes, as the global one does. */
export type Fetch = (url: string, ask?: Ask) => Promise<Answer>;

export const lightFetch: Fetch = async (url, { method = "GET", headers = {}, body, signal } = {}) => {
  const ask = url.startsWith("https:") ? (await import("node:https")).request : request;
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
    const outgoing = ask(
      url,
      { method, headers: { ...headers, ...length }, ...(signal === undefined ? {} : { signal }) },
      (incoming) => resolve(answerOf(incoming)),
    );
    outgoing.on("error", (cause) => reject(new TypeError("fetch failed", { cause })));
    outgoing.end(body);
  });
};

function answerOf(incoming: IncomingMessage): Answer {
  const status = incoming.statusCode ?? 0;
  const text = async (): Promise<string> => {
    const pieces: Uint8Array[] = [];
    for await (const piece of incoming) pieces.push(piece as Uint8Array);
    return Buffer.concat(pieces).toString();
  };
  return {
    ok: status >= 200 && status < 300,
    status,
    body: incoming,
    text,
    json: async () => JSON.parse(await text()) as unknown,
  };
}
