/**
 * The relay: a replica that can't reach an ingress dials us, we dial the ingress and pipe both ways, with back-pressure.
 * The first message must be a hello with a replica's (or a script's) ticket: strangers get no further than our port.
 */
import { WebSocket, type RawData } from "ws";
import { KIND, decodeFrames } from "../../protocol/frame.ts";
import { decodeHello } from "../../protocol/heads.ts";
import { HELLO_TIMEOUT_MS, LINK_MESSAGE_MAX, LINK_WINDOW } from "../../protocol/limits.ts";
import { dial } from "../../protocol/node/dial.ts";
import type { Gate } from "../sessions.ts";

/** Bytes on their way to one side before the other is paused, and when it goes on. Links have flow control of their own; this bounds a liar. */
const PAUSE_ABOVE = LINK_WINDOW;
const RESUME_BELOW = LINK_WINDOW / 2;

/** @param target address of the ingress's mesh listener; null: there is none of that name */
export function relay(outer: WebSocket, target: string | null, gate: Gate): void {
  const timer = setTimeout(() => outer.close(1008, "no hello"), HELLO_TIMEOUT_MS);
  outer.on("close", () => clearTimeout(timer));
  outer.on("error", () => outer.terminate());
  outer.once("message", (data: RawData, binary: boolean) => {
    clearTimeout(timer);
    // The ticket first: a stranger must not learn from the delay which ingresses there are.
    if (!binary || !admitted(bytesOf(data), gate) || target === null) return outer.close(1008, "refused");
    outer.pause();
    const { url, options } = dial(target);
    const inner = new WebSocket(url, {
      ...options,
      perMessageDeflate: false,
      maxPayload: LINK_MESSAGE_MAX,
      skipUTF8Validation: true,
    });
    // A paused socket would not read the answer to its close, and the replica would wait for ours until a timer ends it.
    const end = (code: number, reason = ""): void => {
      outer.resume();
      outer.close(code, reason);
    };
    inner.on("error", () => end(1013, "ingress not reached"));
    inner.on("open", () => {
      pipe(outer, inner);
      pipe(inner, outer);
      inner.send(bytesOf(data), { binary: true });
      outer.resume();
    });
    outer.on("close", () => inner.terminate());
    inner.on("close", (code) => end(code >= 3000 || code === 1000 || code === 1008 ? code : 1011));
  });
}

const bytesOf = (data: RawData): Buffer =>
  Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? Buffer.from(data) : data;

function admitted(message: Uint8Array, gate: Gate): boolean {
  let ticket: string | undefined;
  try {
    decodeFrames(message, (frame) => {
      if (frame.kind === KIND.hello) ticket = decodeHello(frame.payload).ticket;
    });
  } catch {
    return false;
  }
  const use = ticket === undefined ? undefined : gate.ticket(ticket)?.use;
  return use === "replica" || use === "caller";
}

function pipe(from: WebSocket, to: WebSocket): void {
  let waiting = 0;
  from.on("message", (data: RawData, binary: boolean) => {
    const bytes = bytesOf(data);
    waiting += bytes.byteLength;
    if (waiting > PAUSE_ABOVE) from.pause();
    to.send(bytes, { binary }, () => {
      waiting -= bytes.byteLength;
      if (waiting < RESUME_BELOW && from.isPaused) from.resume();
    });
  });
}
