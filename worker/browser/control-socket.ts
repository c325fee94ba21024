/** The control connection as a browser's WebSocket. */
import type { ControlConnection, ControlConnectionEvents } from "../agent/platform.ts";

export function connectControl(url: string, events: ControlConnectionEvents): ControlConnection {
  const socket = new WebSocket(url);
  socket.onopen = () => events.onOpen();
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") events.onMessage(data);
  };
  // Browsers don't tell scripts why a connection failed.
  socket.onclose = ({ code, reason }) =>
    events.onClose(reason || (code === 1006 ? "the connection failed or broke" : `closed with code ${code}`));
  return {
    send: (message) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(message);
    },
    // A reason has at most 123 bytes.
    close: (reason) => socket.close(1000, reason.slice(0, 40)),
  };
}
