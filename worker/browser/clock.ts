/** Clock, chance and turns of the event loop in a tab's Web Worker. */
import type { Clock } from "../agent/platform.ts";

export const tabClock: Clock = {
  now: () => performance.timeOrigin + performance.now(),
  random: () => Math.random(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

const waiting: (() => void)[] = [];
const { port1, port2 } = new MessageChannel();
port1.onmessage = () => {
  for (const callback of waiting.splice(0)) callback();
};

/** Behind the messages that wait already; unlike a timer it is never throttled. */
export function afterTurn(callback: () => void): void {
  if (waiting.push(callback) === 1) port2.postMessage(null);
}
