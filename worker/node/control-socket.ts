/** The control connection as a WebSocket of the `ws` package, and the URLs of a mesh. */
import { WebSocket } from "ws";
import { endpoint, pinned, readAddress } from "../../protocol/address.ts";
import { SkeinError } from "../../protocol/errors.ts";
import { CONTROL_MESSAGE_MAX } from "../../protocol/limits.ts";
import { dial, WrongKey } from "../../protocol/node/dial.ts";
import type { ControlConnection, ControlConnectionEvents } from "../agent/platform.ts";
import { HANDSHAKE_TIMEOUT_MS } from "./limits.ts";

/** `http(s)://host:port` of what a person or a parent gave (http, https, ws, wss), with its fingerprint. Throws INVALID_ARGUMENT. */
export function meshOrigin(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const protocol =
    url === null ? undefined : { "http:": "http:", "ws:": "http:", "https:": "https:", "wss:": "https:" }[url.protocol];
  if (url === null || protocol === undefined)
    throw new SkeinError(
      "INVALID_ARGUMENT",
      `"${text.slice(0, 200)}" is not the URL of a mesh; expected one such as http://10.0.0.5:8266.`,
    );
  return pinned(`${protocol}//${url.host}`, readAddress(text).fingerprint);
}

export const socketUrl = (origin: string, path: string): string => endpoint(origin, "ws", path);

/** `onWrongKey`: called before `onClose` when somebody else answers. */
export function connectControl(
  address: string,
  events: ControlConnectionEvents,
  onWrongKey: (error: WrongKey) => void = () => {},
): ControlConnection {
  const { url, options } = dial(address);
  const socket = new WebSocket(url, {
    ...options,
    perMessageDeflate: false,
    maxPayload: 4 * CONTROL_MESSAGE_MAX,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  });
  let why = "";
  socket.on("error", (error) => {
    if (error instanceof WrongKey) onWrongKey(error);
    const code = "code" in error ? String(error.code) : error.name;
    // An AggregateError (localhost by IPv4 and IPv6) has an empty message of its own.
    why = /SELF_SIGNED|UNABLE_TO/.test(code)
      ? "nobody whom this machine trusts has signed its certificate; use the whole join link, which says whose key to expect"
      : error.message || code;
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
