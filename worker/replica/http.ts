/** HTTP requests: open head -> lazy Request -> user's fetch -> head, chunks, end. */
import type { FlatHeaders, OpenHttp } from "../../protocol/heads.ts";
import type { StreamEvents } from "../../protocol/stream.ts";
import { answerOf, headersFor, pieceOf, type Answer } from "../../serve/answer.ts";
import { LazyRequest } from "../../serve/request.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { IncomingBody } from "./incoming.ts";
import { serveUpgrade } from "./websocket.ts";
import type { Work } from "./work.ts";

/** Starts the handler in this turn, so that a quick answer leaves in one message with the acceptance. */
export function serveHttp(work: Work, head: OpenHttp, ended: boolean): StreamEvents {
  if (head.upgrade) return serveUpgrade(work, head, (request) => work.instance.fetch(request, work.context));
  const body = ended ? null : new IncomingBody(work.stream, false);
  // Whoever calls it off (the peer, the deadline, a stop): a handler that waits for more of the body must not wait for ever.
  if (body !== null) work.context.onCancel((reason) => body.fail(reason));
  const request = new LazyRequest({
    method: head.method,
    scheme: head.scheme,
    mount: head.mount,
    path: head.path,
    headers: head.headers,
    body,
    signal: () => work.context.signal,
  });
  work.run(() => {
    const returned = work.instance.fetch(request, work.context);
    return isPromise(returned) ? returned.then((value) => answer(work, value)) : answer(work, returned);
  });
  return {
    onChunk: (payload, type, _more, charge) =>
      body === null ? work.stream.consumed(charge) : body.onChunk(payload, type, charge),
    onEnd: () => body?.end(),
    onFail: (fail) => {
      body?.fail(new SkeinError(fail.code, fail.message));
      work.cancel(fail.code === "TIMEOUT" ? "TIMEOUT" : "CANCELLED", fail.message);
    },
    onCancel: (reason) => {
      body?.fail(new SkeinError("CANCELLED", reason));
      work.cancel("CANCELLED", reason);
    },
    onWritable: () => work.out.resume(),
  };
}

/** A promise or a handle's response, but not what would rather be streamed (a Generation returned as it is). */
const isPromise = (value: unknown): value is Promise<unknown> =>
  value instanceof Promise ||
  (typeof value === "object" && value !== null && "then" in value && !("streamHeaders" in value));

function answer(work: Work, value: unknown): void | Promise<void> {
  if (work.context.cancelled !== undefined) return discard(value);
  const { stream } = work;
  const converted: Answer = answerOf(value);
  switch (converted.kind) {
    case "whole":
      stream.head({ status: converted.status, headers: converted.headers });
      return whole(work, converted.body);
    case "stream":
      return streamed(work, converted.status, converted.headers, converted.pieces);
    case "upgrade":
      throw new TypeError("A WebSocket upgrade was returned for a request that asks for none.");
  }
}

function whole(work: Work, body: string | Uint8Array): void | Promise<void> {
  const waiting = body.length > 0 ? work.out.write("bytes", body) : undefined;
  if (waiting === undefined) return work.stream.end();
  return waiting.then(
    () => work.stream.end(),
    () => {},
  );
}

/** The head leaves with the first piece, so that a handler that fails before it is still answered with 500. */
async function streamed(
  work: Work,
  status: number,
  headers: FlatHeaders | null,
  pieces: AsyncIterator<unknown> | Iterator<unknown>,
): Promise<void> {
  let begun = false;
  const begin = (first: unknown): void => {
    begun = true;
    work.stream.head({ status, headers: headers ?? headersFor(first) });
  };
  const whole = await work.produce(pieces, (element) => {
    if (!begun) begin(element);
    const piece = pieceOf(element);
    return piece.length > 0 ? work.out.write("bytes", piece) : undefined;
  });
  if (!whole) return;
  if (!begun) begin(undefined);
  work.stream.end();
}

/** An answer that came after its request was called off: what it would have streamed is ended. */
function discard(value: unknown): void {
  const holder = value as
    | { return?(): unknown; cancel?(): unknown; body?: { cancel(): unknown } | null }
    | null
    | undefined;
  if (typeof holder !== "object" || holder === null) return;
  const quiet = (outcome: unknown): void => void Promise.resolve(outcome).catch(() => {});
  if (value instanceof Response) quiet(value.body?.cancel());
  else if (typeof holder.return === "function") quiet(holder.return());
}
