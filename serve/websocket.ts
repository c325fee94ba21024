/**
 * WebSockets of clients: `return upgradeWebSocket(request, { onMessage(event, socket) {…} })` from `fetch`.
 * Knows the handlers' interface only; messages travel as chunks of a stream (worker/replica/websocket.ts).
 */
export type Message = string | Uint8Array;

/** The client's socket as handlers see it. */
export interface ClientSocket {
  readonly protocol: string;
  /** Resolves when the message has left this process: await it, or at most `CLIENT_MESSAGE_MAX` bytes may wait. Rejects once closed. */
  send(message: Message | ArrayBuffer): Promise<void>;
  close(code?: number, reason?: string): void;
}

/** Called one after another: the next message waits until the promise of the last one settles, and with it the sender. */
export interface WebSocketHandlers {
  onOpen?(socket: ClientSocket): void | Promise<void>;
  onMessage?(message: Message, socket: ClientSocket): void | Promise<void>;
  /** The last call; 1006 when the client is gone without a word. */
  onClose?(code: number, reason: string): void | Promise<void>;
}

export class WebSocketUpgrade {
  readonly handlers: WebSocketHandlers;
  readonly protocol: string;
  constructor(handlers: WebSocketHandlers, protocol: string) {
    this.handlers = handlers;
    this.protocol = protocol;
  }
}

/**
 * Accepts a client's WebSocket. `protocol` chooses one of those that the client offers.
 * Return it from `fetch`; returning anything else refuses the upgrade. Throws a TypeError when the request asks for no WebSocket.
 */
export function upgradeWebSocket(
  request: { readonly headers: Headers },
  handlers: WebSocketHandlers,
  protocol = "",
): WebSocketUpgrade {
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket")
    throw new TypeError("The request does not ask for a WebSocket.");
  return new WebSocketUpgrade(handlers, protocol);
}
