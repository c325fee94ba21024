/** A replica's platform in Node: clock, timers, WebSocket client, import. */
import { pathToFileURL } from "node:url";
import type { Duplex } from "node:stream";
import { WebSocket } from "ws";
import { LINK_MESSAGE_MAX } from "../../protocol/limits.ts";
import { dial } from "../../protocol/node/dial.ts";
import { writeMessage } from "../../protocol/node/link-socket.ts";
import type { Connection, ConnectionEvents, ReplicaPlatform } from "../replica/platform.ts";

export function nodeReplicaPlatform(log: ReplicaPlatform["log"]): ReplicaPlatform {
  return {
    // Monotonic: a clock that is set must not look like an absence.
    now: () => performance.timeOrigin + performance.now(),
    random: Math.random,
    after: (ms, callback) => {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
    afterTurn: (callback) => void setImmediate(callback),
    connect,
    importBundle: (path) => import(pathToFileURL(path).href) as Promise<Record<string, unknown>>,
    log,
  };
}

/** As performance.md has it: no compression, no delay (ws's default), no check of UTF-8 in binary frames. */
function connect(address: string, events: ConnectionEvents): Connection {
  let socket: WebSocket;
  try {
    const { url, options } = dial(address);
    socket = new WebSocket(url, {
      ...options,
      perMessageDeflate: false,
      maxPayload: LINK_MESSAGE_MAX,
      skipUTF8Validation: true,
    });
  } catch (error) {
    setImmediate(() => events.onClose(1006, error instanceof Error ? error.message : String(error)));
    return { send: () => {}, close: () => {} };
  }
  let raw: Duplex | undefined;
  let failure = "";
  socket.on("upgrade", (response) => (raw = response.socket));
  socket.on("open", () => events.onOpen());
  socket.on("message", (data, isBinary) => {
    if (isBinary) events.onMessage(data as Buffer);
    else socket.close(1003, "Only binary messages are links.");
  });
  socket.on("error", (error) => void (failure = error.message));
  socket.on("close", (code, reason) => events.onClose(code, reason.toString() || failure));
  return {
    send: (message) => {
      if (socket.readyState === WebSocket.OPEN) writeMessage(raw!, message, true);
    },
    close: (code, reason) => {
      if (socket.readyState === WebSocket.CONNECTING) socket.terminate();
      else socket.close(code, reason);
    },
  };
}
