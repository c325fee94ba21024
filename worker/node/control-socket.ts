/** The control connection as a WebSocket of the `ws` package, and the URLs of a mesh. */
import { WebSocket } from "ws";
import { SkeinError } from "../../protocol/errors.ts";
import { CONTROL_MESSAGE_MAX } from "../../protocol/limits.ts";
import type { ControlConnection, ControlConnectionEvents } from "../agent/platform.ts";
import { HANDSHAKE_TIMEOUT_MS } from "./limits.ts";

/** `http(s)://host:port` of what a person or a parent gave (http, https, ws, wss). Throws INVALID_ARGUMENT. */
export function meshOrigin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const protocol =
    url === null ? undefined : { "http:": "http:", "ws:": "http:", "https:": "https:", "wss:": "https:" }[url.protocol];
  if (url === null || protocol === undefined)
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `"${text.slice(0, 200)}" is not the URL of a mesh; expected one such as http://10.0.0.5:8266.`,
    );
  return `${protocol}//${url.host}`;
}

export const socketUrl = (origin: string, path: string): string => `${origin.replace(/^http/, "ws")}${path}`;

export function connectControl(url: string, events: ControlConnectionEvents): ControlConnection {
  const socket = new WebSocket(url, {
    perMessageDeflate: false,
    maxPayload: 4 * CONTROL_MESSAGE_MAX,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  });
  let why = "";
  socket.on("error", (error) => {
    // An AggregateError (localhost by IPv4 and IPv6) has an empty message of its own.
    why = error.message || ("code" in error ? String(error.code) : error.name);
  });
  socket.on("open", () => {
    if ("_socket" in socket) (socket._socket as { setNoDelay?: (on: boolean) => void }).setNoDelay?.(true);
    events.onOpen();
  });
  socket.on("message", (data, binary) => {
    if (!binary) events.onMessage(String(data));
  });
  socket.on("close", (code, reason) => events.onClose(String(reason) || why || `closed with code ${code}`));
  return {
    send: (message) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(message);
    },
    close: (reason) => {
      socket.close(1000, reason.slice(0, 100));
      // A peer that is gone answers no close: don't wait for it for long.
      setTimeout(() => socket.terminate(), 1_000).unref();
    },
  };
}
