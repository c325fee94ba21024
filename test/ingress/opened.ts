/** What every test with a running ingress needs: start one that is stopped after the test, ask it, wait for something. */
import { afterEach, expect } from "vitest";
import { run, runOne, type Handler, type RunOptions, type Running } from "./running.ts";

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

export const bodyOf = (text: string): string => text.slice(text.indexOf("\r\n\r\n") + 4);

export const until = async (condition: () => boolean, everyMs = 10): Promise<void> => {
  for (let i = 0; i < 1500 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, everyMs));
  expect(condition()).toBe(true);
};
