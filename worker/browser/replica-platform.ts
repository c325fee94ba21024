/** A replica's platform in a tab: clock, WebSocket, import of a bundle from its blob URL. */
import { readAddress } from "../../protocol/address.ts";
import type { Connection, ConnectionEvents, ReplicaPlatform } from "../replica/platform.ts";
import { afterTurn, tabClock } from "./clock.ts";

export function tabReplicaPlatform(log: ReplicaPlatform["log"]): ReplicaPlatform {
  return {
    ...tabClock,
    afterTurn,
    connect,
    // The agent has checked its hash; nobody but this origin can make such a URL.
    importBundle: (url) => import(/* @vite-ignore */ url) as Promise<Record<string, unknown>>,
    log,
  };
}

function connect(address: string, events: ConnectionEvents): Connection {
  let socket: WebSocket;
  try {
    // A browser can't be told a fingerprint: its own verification must do.
    socket = new WebSocket(readAddress(address).url);
  } catch (error) {
    // Such as ws:// from an https page: the relay's URL follows.
    afterTurn(() => events.onClose(1006, error instanceof Error ? error.message : String(error)));
    return { send: () => {}, close: () => {} };
  }
  socket.binaryType = "arraybuffer";
  socket.onopen = () => events.onOpen();
  socket.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) events.onMessage(new Uint8Array(data));
    else socket.close(4002, "Only binary messages are links.");
  };
  socket.onclose = ({ code, reason }) => events.onClose(code, reason);
  return {
    send: (message) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(message as Uint8Array<ArrayBuffer>);
    },
    // Scripts may only use 1000 and 3000 upwards, and a reason of at most 123 bytes.
    close: (code, reason) => socket.close(code >= 3000 ? code : 1000, reason.slice(0, 40)),
  };
}
