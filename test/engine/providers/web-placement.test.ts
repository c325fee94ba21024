import { expect, test } from "vitest";
import { cpuNodesOf } from "../../../engine/providers/placement-log.ts";
import { capturePlacements } from "../../../engine/providers/web-placement.ts";

const LINE = "2026-01-01 [V:onnxruntime:, session_state.cc:1348 VerifyEachNodeIsAssignedToAnEp]  ";

test("a module that keeps the console's functions is heard while the work is under way, and then no more", async () => {
  const written: unknown[][] = [];
  const console = {
    log: (...values: unknown[]) => written.push(values),
    error: (...values: unknown[]) => written.push(values),
  };
  const capture = capturePlacements(console);
  const kept = console.error.bind(console);
  kept("before");
  const { result, text } = await capture(async () => {
    kept(`${LINE}Node(s) placed on [CPUExecutionProvider]. Number of nodes: 1`);
    kept("something else");
    console.log(`${LINE}  Det (Det:d)`);
    return 7;
  });
  expect([result, cpuNodesOf(text)]).toEqual([7, ["Det (Det:d)"]]);
  expect(text).not.toContain("something else");
  await expect(capture(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
  kept(`${LINE}after`);
  expect(written).toEqual([["before"], [`${LINE}after`]]);
});
