/**
 * Two ends of a link joined in memory, without sockets or timers: messages and turns happen when the test says so,
 * in an order that a seed may choose.
 */
import { Link, type LinkEvents } from "../../protocol/link.ts";

export interface LinkPair {
  readonly dialler: Link;
  readonly listener: Link;
  /** Bytes in flight towards each end. */
  inFlight(): number;
  /** Ends the turn and delivers one message; false when nothing moved. `choose` picks the direction when both wait. */
  step(choose?: () => boolean): boolean;
  /** Steps until nothing moves. */
  settle(): void;
  now: number;
  readonly closes: { end: "dialler" | "listener"; code: number; reason: string }[];
}

/** `events` of each end; hellos are exchanged before it returns unless `greet` is false. */
export function linkPair(
  diallerEvents: Partial<LinkEvents>,
  listenerEvents: Partial<LinkEvents>,
  greet = true,
): LinkPair {
  const toListener: Uint8Array[] = [];
  const toDialler: Uint8Array[] = [];
  const turns: (() => void)[] = [];
  const closes: LinkPair["closes"] = [];
  const io = (out: Uint8Array[]) => ({
    send: (message: Uint8Array) => void out.push(message.slice()),
    close: () => {},
    afterTurn: (callback: () => void) => void turns.push(callback),
  });
  const pair = { now: 0 } as { now: number };
  const refuse = (): never => {
    throw new Error("no stream was expected");
  };
  const dialler: Link = new Link(
    "dialler",
    io(toListener),
    {
      onHello: () => {},
      onStream: refuse,
      onClose: (code, reason) => closes.push({ end: "dialler", code, reason }),
      ...diallerEvents,
    },
    0,
  );
  const listener: Link = new Link(
    "listener",
    io(toDialler),
    {
      onHello: () => listener.welcome({ build: "test", features: [], ingress: "i" }),
      onStream: refuse,
      onClose: (code, reason) => closes.push({ end: "listener", code, reason }),
      ...listenerEvents,
    },
    0,
  );
  const step = (choose: () => boolean = () => true): boolean => {
    for (const turn of turns.splice(0)) turn();
    if (toListener.length === 0 && toDialler.length === 0) return false;
    const first = toDialler.length === 0 || (toListener.length > 0 && choose());
    if (first) listener.receive(toListener.shift()!, pair.now);
    else dialler.receive(toDialler.shift()!, pair.now);
    return true;
  };
  const settle = (): void => {
    for (let i = 0; i < 1_000_000; i++) if (!step() && turns.length === 0) return;
    throw new Error("the pair never settled");
  };
  if (greet) {
    dialler.greet({ build: "test", features: [], ticket: "t" });
    settle();
  }
  const bytes = (queue: Uint8Array[]): number => queue.reduce((sum, m) => sum + m.byteLength, 0);
  return Object.assign(pair, {
    dialler,
    listener,
    closes,
    step,
    settle,
    inFlight: () => bytes(toListener) + bytes(toDialler),
  });
}
