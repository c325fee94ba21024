/** Sends a replica's log to a reader that waits at the coordinator: a connection of its own, so that logs never delay control messages. */
import { WebSocket } from "ws";
import { dial } from "../../protocol/node/dial.ts";
import type { LogRequest } from "../agent/platform.ts";
import { HANDSHAKE_TIMEOUT_MS, LOG_READER_LAG_MAX } from "./limits.ts";
import type { LogFolder } from "./log-folder.ts";
import { readTail } from "./replica-log.ts";

/** `address`: of the reader at the mesh port. Ends with the reader, with the replica when it has ended, or at once when nothing is followed. */
export function sendLog(address: string, ticket: string, request: LogRequest, logs: LogFolder): void {
  const { url, options } = dial(address);
  const socket = new WebSocket(url, {
    ...options,
    headers: { authorization: `Bearer ${ticket}` },
    perMessageDeflate: false,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
  });
  let stop = (): void => {};
  let skipped = 0;
  socket.on("error", () => {});
  socket.on("close", () => stop());
  socket.on("open", () => {
    const log = logs.opened(request.replica);
    if (log === undefined || !request.follow) {
      log?.flush();
      socket.send(readTail(logs.pathOf(request.replica), request.tailBytes), { binary: true });
      socket.close(1000);
      return;
    }
    const { tail, stop: unfollow } = log.follow(request.tailBytes, (text) => {
      if (socket.bufferedAmount > LOG_READER_LAG_MAX) {
        skipped += 1;
        return;
      }
      const note = skipped > 0 ? `... ${skipped} pieces were left out: this reader is too slow.\n` : "";
      skipped = 0;
      socket.send(Buffer.from(note + text), { binary: true });
    });
    stop = unfollow;
    if (tail.byteLength > 0) socket.send(tail, { binary: true });
    log.onEnd(() => socket.close(1000));
  });
}
