/** Clients' WebSockets: text and bytes chunks are messages, both ways; head 101 accepts, any other status refuses. */
import { SkeinError } from "../../protocol/errors.ts";
import type { OpenHttp } from "../../protocol/heads.ts";
import { CLIENT_MESSAGE_MAX } from "../../protocol/limits.ts";
import type { StreamEvents } from "../../protocol/stream.ts";
import { LazyRequest } from "../../serve/request.ts";
import { WebSocketUpgrade, type ClientSocket, type Message } from "../../serve/websocket.ts";
import { IncomingMessages } from "./incoming.ts";
import type { Work } from "./work.ts";

const decoder = new TextDecoder();

/** Runs `fetch` and, when it returns an upgrade, its handlers one after another until either side closes. */
export function serveUpgrade(work: Work, head: OpenHttp, fetch: (request: LazyRequest) => unknown): StreamEvents {
  const messages = new IncomingMessages(work.stream, false);
  work.context.onCancel((reason) => messages.fail(reason));
  const closed = { code: 1006, reason: "" };
  const request = new LazyRequest({
    method: head.method,
    scheme: head.scheme,
    mount: head.mount,
    path: head.path,
    // Lines about the connection end at the ingress: what the client asked for is in the head.
    headers: [...head.headers, "connection", "upgrade", "upgrade", "websocket"],
    body: null,
    signal: () => work.context.signal,
  });
  work.run(async () => {
    const returned: unknown = await fetch(request);
    if (returned instanceof WebSocketUpgrade) await converse(work, returned, messages, closed);
    else refuseUpgrade(work);
  });
  const gone = (reason: string): void => {
    messages.fail(new SkeinError("CANCELLED", reason));
    work.cancel("CANCELLED", reason);
  };
  return {
    onChunk: (payload, type, more, charge) => messages.onChunk(payload, type, more, charge),
    onEnd: (end) => {
      Object.assign(closed, end.close ?? { code: 1005, reason: "" });
      messages.end();
    },
    onFail: (fail) => gone(fail.message),
    onCancel: gone,
    onWritable: () => work.out.resume(),
  };
}

/** As recorded in X-WS-01: a handler that takes no WebSocket answers 403. */
function refuseUpgrade(work: Work): void {
  work.stream.head({ status: 403, headers: ["content-type", "text/plain; charset=utf-8"] });
  work.stream.end();
}

async function converse(
  work: Work,
  upgrade: WebSocketUpgrade,
  messages: IncomingMessages,
  closed: { code: number; reason: string },
): Promise<void> {
  const { handlers, protocol } = upgrade;
  const socket = new Socket(work, protocol);
  let own: Socket["closedWith"];
  work.stream.head({ status: 101, headers: protocol === "" ? [] : ["sec-websocket-protocol", protocol] });
  try {
    await handlers.onOpen?.(socket);
    while (!socket.closed) {
      const message = await messages.next();
      if (message === undefined) break;
      const value: Message = message.type === "text" ? decoder.decode(message.bytes) : new Uint8Array(message.bytes);
      await handlers.onMessage?.(value, socket);
    }
    own = socket.closedWith;
    socket.close(closed.code === 1006 || closed.code === 1005 ? 1000 : closed.code, "");
  } catch (error) {
    // As ASGI servers do: an error in a handler closes the client with 1011; the client's own leaving is no error.
    if (work.context.cancelled === undefined) {
      socket.close(1011, "Internal error");
      own = socket.closedWith;
      throw error;
    }
  } finally {
    await handlers.onClose?.(
      closed.code === 1006 && own !== undefined && work.context.cancelled === undefined ? own.code : closed.code,
      closed.reason || (own?.reason ?? ""),
    );
  }
}

class Socket implements ClientSocket {
  readonly protocol: string;
  readonly #work: Work;
  #last: Promise<void> = Promise.resolve();
  #waiting = 0;
  closedWith: { readonly code: number; readonly reason: string } | undefined;

  constructor(work: Work, protocol: string) {
    this.#work = work;
    this.protocol = protocol;
  }

  get closed(): boolean {
    return this.closedWith !== undefined || this.#work.stream.closed;
  }

  send(message: Message | ArrayBuffer): Promise<void> {
    if (this.closed) return Promise.reject(new SkeinError("CANCELLED", "The client's WebSocket is closed."));
    const bytes = message instanceof ArrayBuffer ? new Uint8Array(message) : message;
    if (bytes.length > CLIENT_MESSAGE_MAX || (this.#waiting > 0 && this.#waiting + bytes.length > CLIENT_MESSAGE_MAX))
      return Promise.reject(
        new SkeinError("TOO_LARGE", `More than ${CLIENT_MESSAGE_MAX} bytes would wait for this client: await send().`),
      );
    this.#waiting += bytes.length;
    const sent = this.#last
      .then(() => this.#work.out.write(typeof bytes === "string" ? "text" : "bytes", bytes))
      .finally(() => void (this.#waiting -= bytes.length));
    this.#last = sent.catch(() => {});
    return sent;
  }

  close(code = 1000, reason = ""): void {
    if (this.closedWith !== undefined) return;
    this.closedWith = { code, reason };
    void this.#last.then(() => this.#work.stream.end({ close: { code, reason } }));
  }
}
