import fs from "node:fs";
import { expect, test } from "vitest";
import { withPlacementLog } from "../../../engine/providers/node-placement.ts";
import { cpuNodesOf } from "../../../engine/providers/placement-log.ts";

/** As ONNX Runtime Web 1.30 writes it. */
const line = (said: string): string =>
  `2026-11-25 20:28:02.391677 [V:onnxruntime:, session_state.cc:1383 VerifyEachNodeIsAssignedToAnEp] ${said}\n`;

test("the CPU's nodes are named, and those of others aren't", () => {
  const log =
    line("Node placements") +
    line(" Node(s) placed on [CPUExecutionProvider]. Number of nodes: 2") +
    line("  Det (Det:determinant)") +
    line("  Gather (/model/Gather_1)") +
    line(" Node(s) placed on [WebGpuExecutionProvider]. Number of nodes: 1") +
    line("  Add (first)") +
    "[0;93m2026 [W:onnxruntime:, session_state.cc:1397 VerifyEachNodeIsAssignedToAnEp] Some nodes were not assigned\n";
  expect(cpuNodesOf(log)).toEqual(["Det (Det:determinant)", "Gather (/model/Gather_1)"]);
  expect(cpuNodesOf(line(" All nodes placed on [WebGpuExecutionProvider]. Number of nodes: 4"))).toEqual([]);
  expect(cpuNodesOf(line(" All nodes placed on [CPUExecutionProvider]. Number of nodes: 4"))).toEqual(["all 4 nodes"]);
});

test("only placements are kept, files are written as ever, and afterwards all is as before", async () => {
  const original = fs.writeSync;
  const { result, text } = await withPlacementLog(async () => {
    fs.writeSync(2, "something else\n");
    fs.writeSync(2, line("Node placements"));
    return 7;
  });
  expect([result, text]).toEqual([7, line("Node placements")]);
  await expect(withPlacementLog(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(fs.writeSync).toBe(original);
});
