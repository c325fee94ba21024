/** What a graph tells of its work, over a session that ends its runs when it is told to, on a virtual clock. */
import { expect, test } from "vitest";
import type { PreparedGraph } from "../../engine/graph-model.ts";
import { GraphServer } from "../../engine/graph-server.ts";
import type { GraphSession } from "../../engine/providers/graph-session.ts";
import type { Tensors } from "../../engine/tensor.ts";

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("calls that run and that wait, runs and their time, and how calls ended", async () => {
  let now = 0;
  const runs: PromiseWithResolvers<Tensors>[] = [];
  const session = {
    provider: "native",
    run: () => (runs.push(Promise.withResolvers<Tensors>()), runs.at(-1)!.promise),
    release: async () => {},
  } as unknown as GraphSession;
  const graph = { inputs: [], outputs: [], text: undefined } as unknown as PreparedGraph;
  const server = new GraphServer({ session, graph, notes: [], yieldTurn: settled, now: () => now, onRun: () => {} });
  const idle = { kind: "graph", running: 0, waiting: 0, promptTokens: 0, runs: 0, runMs: 0 };
  expect(server.stats).toEqual({ ...idle, finished: { stop: 0, cancelled: 0 } });
  const calls = [server.run({}), server.run({}), server.run({})];
  const ended = Promise.allSettled(calls);
  await settled();
  expect(server.stats).toMatchObject({ running: 1, waiting: 2, runs: 0 });
  now = 30;
  runs[0]!.resolve({});
  await calls[0];
  await settled();
  await settled();
  expect(server.stats).toMatchObject({ running: 1, waiting: 1, runs: 1, runMs: 30, finished: { stop: 1 } });
  now = 42;
  runs[1]!.reject(new Error("not so"));
  await settled();
  await settled();
  await settled();
  runs[2]!.resolve({});
  expect((await ended).map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  // One that failed is neither answered nor called off.
  expect(server.stats).toEqual({ ...idle, runs: 3, runMs: 42, finished: { stop: 2, cancelled: 0 } });
});
