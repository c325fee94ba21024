/** What every test with a running ingress needs: start one that is stopped after the test, ask it, wait for something. */
import { afterEach, expect } from "vitest";
import { raw, run, runOne, type Handler, type RunOptions, type Running } from "./running.ts";

const open: Running[] = [];
afterEach(async () => {
  for (const running of open.splice(0)) await running.stop();
});

/** Stops this one too after the test. */
export function stopped(running: Running): Running {
  open.push(running);
  return running;
}

/** An ingress with one replica that `handler` answers for. */
export async function one(handler: Handler, options?: RunOptions & { deployment?: object }): Promise<Running> {
  return stopped(await runOne(handler, options));
}

/** An ingress without replicas. */
export async function none(options?: RunOptions): Promise<Running> {
  return stopped(await run(options));
}

export const get = (path: string, ...headers: string[]): string =>
  `GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${headers.map((h) => `${h}\r\n`).join("")}\r\n`;

/** Sends a request, and does `next` when the head of its answer has come: what is made then comes in a piece of its own. */
export function rawInPieces(port: number, request: string, next: () => void): Promise<string> {
  let isFirst = true;
  return raw(port, request, undefined, (text) => {
    if (!isFirst || !text.includes("\r\n\r\n")) return;
    isFirst = false;
    next();
  });
}

export const bodyOf = (text: string): string => text.slice(text.indexOf("\r\n\r\n") + 4);

/** The limit only catches what hangs. */
export const until = (condition: () => boolean, everyMs = 10): Promise<void> =>
  expect.poll(condition, { interval: everyMs, timeout: 60_000 }).toBe(true);
