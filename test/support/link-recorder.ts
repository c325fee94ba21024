/** A call's head and a listener that records what its streams are told. */
import type { OpenHead } from "../../protocol/heads.ts";
import type { Stream, StreamEvents } from "../../protocol/stream.ts";

export const call = (over: Partial<OpenHead> = {}): OpenHead =>
  ({
    kind: "call",
    app: "a",
    deployment: "D",
    method: "m",
    stream: false,
    requestId: "r",
    deadlineMs: null,
    epoch: 0,
    hops: 0,
    model: "",
    ...over,
  }) as OpenHead;

export const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** A listener that records what its streams are told. */
export function recorder(): {
  streams: Stream[];
  log: string[];
  events: { onStream: (s: Stream, h: OpenHead, ended: boolean) => StreamEvents };
} {
  const streams: Stream[] = [];
  const log: string[] = [];
  return {
    streams,
    log,
    events: {
      onStream(stream, head, ended) {
        streams.push(stream);
        log.push(`open ${head.kind} ${head.requestId}${ended ? " ended" : ""}`);
        return {
          onChunk: (payload, type, more, charge) => {
            log.push(`${type} ${text(payload).slice(0, 20)}${more ? "…" : ""}`);
            stream.consumed(charge);
          },
          onEnd: () => log.push("end"),
          onFail: (fail, lost) => log.push(`fail ${fail.code}${lost ? " lost" : ""}`),
          onCancel: (reason) => log.push(`cancel ${reason}`),
        };
      },
    },
  };
}
